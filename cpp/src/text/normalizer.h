#pragma once

#include <memory>
#include <vector>

#include "collegium/core/status.h"
#include "text/aligned_text.h"

namespace collegium::core {

class JsonValue;

// What is done to text before it is cut: the `normalizer` of a tokenizer.json. Immutable.
class Normalizer {
 public:
  // One step.
  class Step {
   public:
    virtual ~Step() = default;
    virtual void apply(AlignedText& text) const = 0;
  };

  // corruption, not_supported by name. `value` may be null: nothing is done.
  static Result<Normalizer> read(const JsonValue& value);

  // At most this many bytes come of one, and kMoreBytes besides; no real file comes near.
  static constexpr std::size_t kMaxGrowth = 32;
  static constexpr std::size_t kMoreBytes = 1024;
  // not_supported if the text grows beyond that.
  Status apply(AlignedText& text) const;

 private:
  Status add(const JsonValue& value, int depth);
  std::vector<std::shared_ptr<const Step>> steps_;
};

}  // namespace collegium::core
