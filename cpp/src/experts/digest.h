#pragma once

#include <xxhash.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace collegium::core {

// XXH3, 128 bits, over values with their lengths. Tells models apart; no defence against forgery.
class ModelDigest {
 public:
  ModelDigest() : state_(XXH3_createState(), XXH3_freeState) {
    if (state_ == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(state_.get());
  }
  // Lengths go in first, so that no two lists of values read the same.
  void add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    XXH3_128bits_update(state_.get(), text.data(), text.size());
  }
  void add(std::uint64_t number) { XXH3_128bits_update(state_.get(), &number, sizeof number); }
  void add(std::span<const float> values) {
    add(static_cast<std::uint64_t>(values.size()));
    XXH3_128bits_update(state_.get(), values.data(), values.size_bytes());
  }
  // 32 hex digits.
  std::string hex() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
    std::string out;
    for (unsigned char byte : canonical.digest) {
      out += "0123456789abcdef"[byte >> 4];
      out += "0123456789abcdef"[byte & 15];
    }
    return out;
  }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

}  // namespace collegium::core
