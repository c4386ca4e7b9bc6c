#pragma once

#include <memory>
#include <vector>

#include "collegium/core/status.h"
#include "text/aligned_text.h"

namespace collegium::core {

class JsonValue;

// A part of an AlignedText. Never empty.
struct Piece {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::int32_t token = -1;  // the added token it is; -1: text yet to be cut
};

struct Pieces {
  AlignedText text;
  std::vector<Piece> list;  // in order, without overlap; what is between them is gone
};

// How text is cut before the model sees it: the `pre_tokenizer` of a tokenizer.json. Immutable.
class PreTokenizer {
 public:
  class Step {
   public:
    virtual ~Step() = default;
    virtual void apply(Pieces& pieces) const = 0;
  };

  // corruption, not_supported by name. `value` may be null: nothing is cut.
  static Result<PreTokenizer> read(const JsonValue& value);

  void apply(Pieces& pieces) const {
    for (const auto& step : steps_) step->apply(pieces);
  }

 private:
  Status add(const JsonValue& value, int depth);
  // Steps that write text anew run once at most: again and again they would double it.
  Status once(const JsonValue& value, bool& seen);

  std::vector<std::shared_ptr<const Step>> steps_;
  bool byte_level_ = false;
  bool metaspace_ = false;
};

}  // namespace collegium::core
