#include "text/added_tokens.h"

#include <limits>
#include <set>

#include "text/json_fields.h"
#include "text/unicode_forms.h"
#include "text/white_space.h"

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
    COLLEGIUM_RETURN_IF_ERROR(only_fields(
        element, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
    AddedToken token;
    COLLEGIUM_ASSIGN_OR_RETURN(token.content, required_string(element, "content"));
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue id_field, required(element, "id"));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t id, id_field.as_unsigned());
    if (id > static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()))
      return Status::corruption(id_field.where() + ": " + std::to_string(id) + " is above 32 bits");
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

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens,
                                   const std::vector<std::string>& contents)
    : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string_view, std::int32_t>> entries;
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < contents.size(); ++i)
    if (seen.insert(contents[i]).second)
      entries.emplace_back(contents[i], static_cast<std::int32_t>(i));
  trie_ = TokenTrie(std::move(entries));
}

std::vector<AddedTokenFinder::Part> AddedTokenFinder::find(std::string_view text) const {
  std::vector<Part> parts;
  const auto is_word = [&](std::size_t at) {
    return UnicodeForms::get().is_word(decode_utf8(text, at));
  };
  std::size_t done = 0;
  // White space looked at last, so that a long run is not looked at again and again.
  std::size_t space_begin = 1;
  std::size_t space_end = 0;
  for (std::size_t at = 0; at < text.size() && !tokens_.empty();) {
    const TokenTrie::Match match = trie_.longest(text.substr(at));
    if (match.id < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(match.id)];
    std::size_t begin = at;
    std::size_t end = at + match.size;
    at = end;
    if (token.single_word && ((begin > 0 && is_word(previous_character(text, begin))) ||
                              (end < text.size() && is_word(end))))
      continue;
    // A token that starts with white space may start in what the one before it took along. The
    // package lets both have it, unless this one takes along what is before it, too.
    if (token.lstrip) begin = begin > done ? trim_end(text, done, begin) : done;
    if (token.rstrip) {
      if (end < space_begin || end > space_end) {
        space_begin = end;
        space_end = skip_space(text, end, text.size());
      }
      end = space_end;
    }
    if (begin > end) continue;  // where the package gives up
    if (done < begin) parts.push_back({done, begin, -1});
    if (begin < end) parts.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
  return parts;
}

}  // namespace collegium::core
