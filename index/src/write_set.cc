#include "write_set.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "collegium/core/text/tokenizer.h"
#include "filter_value.h"
#include "lexical_words.h"

namespace collegium::index {
namespace {

std::string in_quotes(std::string_view text) {
  std::size_t end = std::min<std::size_t>(text.size(), 80);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;  // not within a character
  return "'" + std::string(text.substr(0, end)) + (end < text.size() ? "...'" : "'");
}

Status check_name(std::string_view name, const std::string& what) {
  if (name.empty() || name.size() > kMaxIdBytes)
    return Status::invalid_argument(what + " has " + std::to_string(name.size()) +
                                    " bytes, allowed are 1 to " + std::to_string(kMaxIdBytes));
  return core::check_utf8(name, what);
}

Status check_document(const NewDocument& added, std::size_t dim) {
  const Document& document = added.document;
  COLLEGIUM_RETURN_IF_ERROR(check_name(document.id, "a document's id"));
  const std::string what = "document " + in_quotes(document.id);
  COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(document.title, what + ": title"));
  COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(document.text, what + ": text"));
  COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(document.metadata, what + ": metadata"));
  // Who reads it may recurse.
  if (const std::size_t depth = nesting(document.metadata); depth > kMaxMetadataDepth)
    return Status::invalid_argument(what + ": metadata is nested " + std::to_string(depth) +
                                    " deep, allowed are " + std::to_string(kMaxMetadataDepth));
  if (!document.metadata.empty() &&
      !nlohmann::json::parse(document.metadata, nullptr, /*allow_exceptions=*/false).is_object())
    return Status::invalid_argument(what + ": metadata is not a JSON object");
  if (added.vectors.size() != added.passages.size() * dim)
    return Status::invalid_argument(what + ": " + std::to_string(added.vectors.size()) +
                                    " floats for " + std::to_string(added.passages.size()) +
                                    " passages of dim " + std::to_string(dim));
  for (std::size_t i = 0; i < added.passages.size(); ++i) {
    const core::PassageSpan& passage = added.passages[i];
    const std::string where = what + ": passage " + std::to_string(i);
    if (passage.bytes.begin > passage.bytes.end || passage.bytes.end > document.text.size())
      return Status::invalid_argument(where + ": bytes [" + std::to_string(passage.bytes.begin) +
                                      ", " + std::to_string(passage.bytes.end) + ") of a text of " +
                                      std::to_string(document.text.size()));
    for (const auto& [name, at] :
         {std::pair("begin", passage.bytes.begin), std::pair("end", passage.bytes.end)})
      if (inside_character(document.text, at))
        return Status::invalid_argument(where + ": its " + name + " " + std::to_string(at) +
                                        " lies inside a character, must lie between two");
    COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(passage.section, where + ": section"));
    COLLEGIUM_RETURN_IF_ERROR(
        check_vector(std::span(added.vectors).subspan(i * dim, dim), where + ": vector"));
  }
  return {};
}

}  // namespace

Status check_vector(std::span<const float> vector, const std::string& what) {
  float squares = 0.0f;
  for (std::size_t i = 0; i < vector.size(); ++i) {
    if (!std::isfinite(vector[i]))
      return Status::invalid_argument(what + ": value " + std::to_string(i) + " is " +
                                      std::to_string(vector[i]) + ", must be finite");
    squares += vector[i] * vector[i];
  }
  // Cauchy and Schwarz keep an inner product below the greater of the two squared lengths; the
  // margin is for rounding.
  if (!(squares < 1e38f))
    return Status::invalid_argument(what + ": its squared length must be below 1e38");
  return {};
}

Status WriteSet::Impl::validate(std::size_t dim) const {
  std::set<std::string_view> names;
  for (const std::string& name : created) {
    COLLEGIUM_RETURN_IF_ERROR(check_name(name, "a collection's name"));
    if (!names.insert(name).second)
      return Status::invalid_argument("collection " + in_quotes(name) + " is created twice");
  }
  names.clear();
  for (const auto& [name, settings] : lexical) {
    if (!names.insert(name).second)
      return Status::invalid_argument("lexical settings of collection " + in_quotes(name) +
                                      " are set twice in one commit");
    COLLEGIUM_RETURN_IF_ERROR(settings.validate().with_context("collection " + in_quotes(name)));
  }
  std::set<std::pair<std::string_view, std::string_view>> ids;
  std::size_t bytes = 0;
  std::size_t searched = 0;  // what words are found in: titles count for every passage
  for (const auto& [collection, added] : documents) {
    COLLEGIUM_RETURN_IF_ERROR(check_document(added, dim));
    if (!ids.emplace(collection, added.document.id).second)
      return Status::invalid_argument("document " + in_quotes(added.document.id) +
                                      " of collection " + in_quotes(collection) +
                                      " is named twice in one commit");
    bytes += added.document.title.size() + added.document.text.size() +
             added.document.metadata.size() + added.vectors.size() * sizeof(float);
    searched += added.document.title.size() * added.passages.size();
    for (const core::PassageSpan& passage : added.passages)
      searched += passage.bytes.end - passage.bytes.begin;
  }
  for (const auto& [collection, id] : removed_documents)
    if (!ids.emplace(collection, id).second)
      return Status::invalid_argument("document " + in_quotes(id) + " of collection " +
                                      in_quotes(collection) + " is named twice in one commit");
  std::set<std::string_view> keys;
  const auto check_key = [&keys](const std::string& key) -> Status {
    COLLEGIUM_RETURN_IF_ERROR(check_name(key, "a record's key"));
    if (!keys.insert(key).second)
      return Status::invalid_argument("record " + in_quotes(key) + " is named twice in one commit");
    return {};
  };
  for (const auto& [key, value] : records) {
    COLLEGIUM_RETURN_IF_ERROR(check_key(key));
    bytes += value.size();
  }
  for (const std::string& key : removed_records) COLLEGIUM_RETURN_IF_ERROR(check_key(key));
  if (bytes > kMaxCommitBytes)
    return Status::invalid_argument("a commit of " + std::to_string(bytes) +
                                    " bytes, allowed are " + std::to_string(kMaxCommitBytes) +
                                    ": divide it");
  if (searched > kMaxCommitBytes)
    return Status::invalid_argument(
        "a commit whose passages, each with its document's title, have " +
        std::to_string(searched) + " bytes, allowed are " + std::to_string(kMaxCommitBytes) +
        ": divide it, or shorten the titles");
  return {};
}

WriteSet::WriteSet() = default;
WriteSet::~WriteSet() = default;
WriteSet::WriteSet(WriteSet&&) noexcept = default;
WriteSet& WriteSet::operator=(WriteSet&&) noexcept = default;

// A moved-from set has no Impl; the next call makes one.
WriteSet::Impl& WriteSet::impl() {
  if (impl_ == nullptr) impl_ = std::make_unique<Impl>();
  return *impl_;
}

void WriteSet::create_collection(std::string name) { impl().created.push_back(std::move(name)); }
void WriteSet::set_lexical(std::string collection, LexicalSettings settings) {
  impl().lexical.emplace_back(std::move(collection), std::move(settings));
}
void WriteSet::put_document(std::string collection, NewDocument document) {
  impl().documents.emplace_back(std::move(collection), std::move(document));
}
void WriteSet::remove_document(std::string collection, std::string id) {
  impl().removed_documents.emplace_back(std::move(collection), std::move(id));
}
void WriteSet::put_record(std::string key, std::string value) {
  impl().records.emplace_back(std::move(key), std::move(value));
}
void WriteSet::remove_record(std::string key) { impl().removed_records.push_back(std::move(key)); }
bool WriteSet::empty() const noexcept {
  return impl_ == nullptr ||
         (impl_->created.empty() && impl_->documents.empty() && impl_->removed_documents.empty() &&
          impl_->records.empty() && impl_->removed_records.empty() && impl_->lexical.empty());
}

}  // namespace collegium::index
