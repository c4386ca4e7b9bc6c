#include <array>
#include <optional>
#include <string>

#include "collegium/core/file_envelope.h"
#include "text/json_fields.h"
#include "text/token_model.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

// Byte pair encoding over characters, which are bytes where the ByteLevel pre-tokeniser spells
// them. Offsets are lengths added up, so that a character that has no token moves those of its
// piece to the front; this is how the `tokenizers` package counts.
class BpeModel final : public TokenModel {
 public:
  explicit BpeModel(const TokenTable& tokens) : tokens_(tokens) {}
  Status read(const JsonValue& value);
  void add_to(Digest& digest) const override;
  std::string_view name() const noexcept override { return "BPE"; }

 private:
  struct Unknown {
    bool pending = false;
    std::size_t size = 0;
  };
  void tokenize_piece(std::string_view text, std::size_t begin, std::size_t end, Scratch& scratch,
                      std::vector<ModelToken>& out) const override;
  Status read_merges(const JsonValue& value);
  Status add_merge(std::string_view left, std::string_view right, std::size_t rank,
                   const std::string& where, std::string& whole);
  std::int32_t character_id(std::string_view character) const {
    if (character.size() > 2) return tokens_.find_model(character);
    std::size_t at = 0;
    const char32_t c = decode_utf8(character, at);
    return c < short_ids_.size() ? short_ids_[c] : tokens_.find_model(character);
  }

  const TokenTable& tokens_;
  BpeMerges merges_;
  std::array<std::int32_t, 512> short_ids_{};  // of characters below U+0200
  std::array<std::int32_t, 256> byte_ids_{};   // of "<0x..>", for byte fallback
  std::int32_t unk_ = -1;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  std::string merge_digest_;
};

Status BpeModel::add_merge(std::string_view left, std::string_view right, std::size_t rank,
                           const std::string& where, std::string& whole) {
  whole.assign(left).append(right);
  const std::int32_t left_id = tokens_.find(left);
  const std::int32_t right_id = tokens_.find(right);
  const std::int32_t id = tokens_.find(whole);
  if (left_id < 0 || right_id < 0 || id < 0)
    return Status::corruption(where + ": merge " + std::to_string(rank) + " of " + in_quotes(left) +
                              " and " + in_quotes(right) +
                              " has a token that is not in the vocabulary");
  merges_.set(left_id, right_id, static_cast<std::uint32_t>(rank), id);
  return {};
}

Status BpeModel::read_merges(const JsonValue& value) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, required(value, "merges"));
  simdjson::dom::array array;
  if (list.element().get(array) != simdjson::SUCCESS)
    return Status::corruption(list.where() + ": is no array");
  std::size_t count = 0;
  for (const auto element : array) {
    (void)element;
    ++count;
  }
  merges_ = BpeMerges(count);
  Digest digest;
  std::string whole;
  std::size_t rank = 0;
  for (const auto element : array) {
    std::string_view left;
    std::string_view right;
    simdjson::dom::array pair;
    if (element.get(left) == simdjson::SUCCESS) {
      if (left.starts_with("#version")) continue;  // the first line of merges.txt
      const std::size_t space = left.find(' ');
      if (space == left.npos || left.find(' ', space + 1) != left.npos)
        return Status::corruption(list.where() + ": merge " + std::to_string(rank) + " " +
                                  in_quotes(left) + " is not two tokens with a space between");
      right = left.substr(space + 1);
      left = left.substr(0, space);
    } else if (element.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
               pair.at(0).get(left) != simdjson::SUCCESS ||
               pair.at(1).get(right) != simdjson::SUCCESS) {
      return Status::corruption(list.where() + ": merge " + std::to_string(rank) +
                                " is not two tokens");
    }
    COLLEGIUM_RETURN_IF_ERROR(add_merge(left, right, rank, list.where(), whole));
    for (const std::string_view part : {left, right}) {
      const std::uint64_t size = part.size();
      digest.update(std::as_bytes(std::span(&size, 1)));
      digest.update(std::as_bytes(std::span(part)));
    }
    ++rank;
  }
  merge_digest_ = digest.hex();
  return {};
}

Status BpeModel::read(const JsonValue& value) {
  COLLEGIUM_RETURN_IF_ERROR(only_fields(
      value, {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
              "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  COLLEGIUM_ASSIGN_OR_RETURN(const double dropout, value.number_or("dropout", 0));
  if (dropout != 0)
    return Status::not_supported(value.where() + ": dropout " + std::to_string(dropout) +
                                 " is not run here, only 0");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string affix, value.string_or(key, ""));
    if (!affix.empty())
      return Status::not_supported(value.where() + ": " + key + " " + in_quotes(affix) +
                                   " is not run here, only ''");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(fuse_unk_, value.bool_or("fuse_unk", false));
  COLLEGIUM_ASSIGN_OR_RETURN(byte_fallback_, value.bool_or("byte_fallback", false));
  COLLEGIUM_ASSIGN_OR_RETURN(ignore_merges_, value.bool_or("ignore_merges", false));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string unk, value.string_or("unk_token", ""));
  if (!unk.empty()) {
    unk_ = tokens_.find(unk);
    if (unk_ < 0)
      return Status::corruption(value.where() + ": unk_token " + in_quotes(unk) +
                                " is not in the vocabulary");
  }
  for (char32_t c = 0; c < short_ids_.size(); ++c) {
    std::array<char, 4> bytes;
    short_ids_[c] = tokens_.find({bytes.data(), encode_utf8(c, bytes.data())});
  }
  constexpr char kHex[] = "0123456789ABCDEF";
  for (std::size_t byte = 0; byte < 256; ++byte)
    byte_ids_[byte] = tokens_.find(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">");
  return read_merges(value);
}

void BpeModel::tokenize_piece(std::string_view text, std::size_t begin, std::size_t end,
                              Scratch& scratch, std::vector<ModelToken>& out) const {
  if (ignore_merges_) {
    if (const std::int32_t id = tokens_.find_model(text.substr(begin, end - begin)); id >= 0) {
      out.push_back({id, begin, end});
      return;
    }
  }
  BpeMerges::Scratch& merges = scratch.merges;
  merges.symbols.clear();
  std::size_t offset = begin;
  const auto add = [&](std::int32_t id, std::size_t size) {
    merges.add(id, offset, offset + size);
    offset += size;
  };
  Unknown unknown;
  for (std::size_t at = begin; at < end;) {
    const std::size_t size = utf8_length(text[at]);
    const std::string_view character = text.substr(at, size);
    at += size;
    if (const std::int32_t id = character_id(character); id >= 0) {
      if (unknown.pending) add(unk_, unknown.size);
      unknown = {};
      add(id, size);
      continue;
    }
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
    if (byte_fallback_) {
      bool all = true;
      for (const char c : character) all = all && byte_id(c) >= 0;
      if (all) {
        for (const char c : character) add(byte_id(c), 1);
        continue;
      }
    }
    if (unk_ < 0) continue;
    if (unknown.pending && !fuse_unk_) {
      add(unk_, unknown.size);
      unknown = {};
    }
    unknown.pending = true;
    unknown.size += size;
  }
  if (unknown.pending) add(unk_, unknown.size);
  if (merges.symbols.empty()) return;
  merges_.merge(merges);
  for (std::uint32_t i = 0; i != BpeMerges::kNone; i = merges.symbols[i].next) {
    const BpeMerges::Symbol& symbol = merges.symbols[i];
    out.push_back({symbol.id, symbol.begin, symbol.end});
  }
}

void BpeModel::add_to(Digest& digest) const {
  const std::string covered = "bpe " + std::to_string(unk_) + (fuse_unk_ ? "f" : "-") +
                              (byte_fallback_ ? "b" : "-") + (ignore_merges_ ? "i" : "-") +
                              merge_digest_;
  digest.update(std::as_bytes(std::span(covered)));
}

}  // namespace

Result<std::unique_ptr<const TokenModel>> read_bpe_model(const JsonValue& value,
                                                         TokenTable& tokens) {
  COLLEGIUM_RETURN_IF_ERROR(read_vocabulary(value, tokens));
  auto model = std::make_unique<BpeModel>(tokens);
  COLLEGIUM_RETURN_IF_ERROR(model->read(value));
  return std::unique_ptr<const TokenModel>(std::move(model));
}

}  // namespace collegium::core
