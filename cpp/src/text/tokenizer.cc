#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

Result<Encoding> Tokenizer::encode_pair(std::string_view, std::string_view,
                                        const EncodeOptions&) const {
  return Status::not_supported("this tokenizer knows no way to join two texts");
}

}  // namespace collegium::core
