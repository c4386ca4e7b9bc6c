#include <algorithm>
#include <string>
#include <utility>

#include "collegium/index/lexical.h"

namespace collegium::index {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Whether a sign right before this makes sense.
bool begins_word(std::string_view rest) {
  if (rest.empty()) return false;
  const char c = rest[0];
  return c == '"' || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
         (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

LexicalQuery LexicalQuery::parse(std::string_view text) {
  LexicalQuery query;
  for (std::size_t at = 0; at < text.size();) {
    if (is_space(text[at])) {
      ++at;
      continue;
    }
    Need need = Need::kOptional;
    if ((text[at] == '+' || text[at] == '-') && begins_word(text.substr(at + 1))) {
      need = text[at] == '+' ? Need::kRequired : Need::kExcluded;
      ++at;
    }
    std::size_t end = at;
    if (text[at] == '"') {
      if (need == Need::kOptional) need = Need::kRequired;
      ++at;
      end = std::min(text.find('"', at), text.size());
      query.clauses.push_back({std::string(text.substr(at, end - at)), need});
      at = end + 1;
      continue;
    }
    while (end < text.size() && !is_space(text[end])) ++end;
    query.clauses.push_back({std::string(text.substr(at, end - at)), need});
    at = end;
  }
  return query;
}

LexicalQuery LexicalQuery::words(std::string_view text) {
  LexicalQuery query;
  query.clauses.push_back({std::string(text), Need::kOptional});
  return query;
}

}  // namespace collegium::index
