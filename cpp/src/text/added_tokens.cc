#include "text/added_tokens.h"

#include <limits>
#include <set>

#include "text/json_fields.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxAddedTokens = 100'000;
// Longer ones would make matching slow, and no model has them.
constexpr std::size_t kMaxAddedTokenBytes = 1024;

}  // namespace

Result<std::vector<AddedToken>> read_added_tokens(const JsonValue& value) {
  std::vector<AddedToken> tokens;
  if (value.is_null()) return tokens;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto elements, value.as_array(kMaxAddedTokens));
  std::set<std::string> seen;
  for (const JsonValue& element : elements) {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(element, {"id", "content", "single_word", "lstrip",
                                                    "rstrip", "normalized", "special"}));
    AddedToken token;
    COLLEGIUM_ASSIGN_OR_RETURN(token.content, required_string(element, "content"));
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue id_field, required(element, "id"));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t id, id_field.as_unsigned());
    if (id > static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()))
      return Status::corruption(id_field.where() + ": " + std::to_string(id) +
                                " is above 32 bits");
    token.id = static_cast<std::int32_t>(id);
    if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes)
      return Status::corruption(element.where() + ": content has " +
                                std::to_string(token.content.size()) + " bytes, must be in [1, " +
                                std::to_string(kMaxAddedTokenBytes) + "]");
    for (const auto& [key, flag] :
         {std::pair("special", &token.special), std::pair("normalized", &token.normalized),
          std::pair("single_word", &token.single_word), std::pair("lstrip", &token.lstrip),
          std::pair("rstrip", &token.rstrip)}) {
      COLLEGIUM_ASSIGN_OR_RETURN(*flag, required_bool(element, key));
    }
    if (!seen.insert(token.content).second)
      return Status::corruption(element.where() + ": token " + in_quotes(token.content) +
                                " is there twice");
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace collegium::core
