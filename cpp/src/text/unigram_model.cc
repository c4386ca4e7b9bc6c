#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "collegium/core/file_envelope.h"
#include "text/json_fields.h"
#include "text/token_model.h"
#include "text/token_trie.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

// What a character without a token scores below the worst token.
constexpr double kUnknownPenalty = 10;

// 10^exponent as its nearest double. Pre: 0 <= exponent <= 308.
double power_of_ten(int exponent) {
  const std::string text = "1e" + std::to_string(exponent);
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The `tokenizers` package reads a number as its digits, a double, times or over a power of ten,
// rounded each time (serde_json without float_roundtrip). For 16 and 17 digits that can be the
// double beside the nearest one, which decides between two ways to cut a text whose scores would
// add up to the same: a word and 41 dots, say. `value` is the nearest double of what the file says;
// its shortest digits are the file's, since that is how such files are written.
double as_package_reads(double value) {
  std::array<char, 32> text;
  const auto written = std::to_chars(text.data(), text.data() + text.size(), std::abs(value),
                                     std::chars_format::scientific);
  std::uint64_t digits = 0;
  int exponent = 0;
  bool after_point = false;
  const char* at = text.data();
  for (; *at != 'e'; ++at) {
    if (*at == '.') {
      after_point = true;
      continue;
    }
    digits = digits * 10 + static_cast<std::uint64_t>(*at - '0');
    exponent -= after_point ? 1 : 0;
  }
  int more = 0;
  std::from_chars(at + (at[1] == '+' ? 2 : 1), written.ptr, more);
  exponent += more;
  auto read = static_cast<double>(digits);
  constexpr int kLargest = 308;
  for (; exponent < -kLargest; exponent += kLargest) read /= power_of_ten(kLargest);
  read = exponent < 0 ? read / power_of_ten(-exponent) : read * power_of_ten(exponent);
  return std::copysign(read, value);
}

// Unigram (arXiv 1804.10959): the tokens whose scores add up to most, found from left to right.
class UnigramModel final : public TokenModel {
 public:
  explicit UnigramModel(const TokenTable& tokens) : tokens_(tokens) {}
  Status read(const JsonValue& value, TokenTable& tokens);
  void add_to(Digest& digest) const override;
  std::string_view name() const noexcept override { return "Unigram"; }

 private:
  void tokenize_piece(std::string_view text, std::size_t begin, std::size_t end, Scratch& scratch,
                      std::vector<ModelToken>& out) const override;
  void push_unknown(std::string_view text, std::size_t begin, std::size_t end,
                    std::vector<ModelToken>& out) const;

  const TokenTable& tokens_;
  TokenTrie trie_;
  std::vector<double> scores_;  // by id
  double unknown_score_ = 0;
  std::int32_t unk_ = -1;
  bool byte_fallback_ = false;
  std::array<std::int32_t, 256> byte_ids_{};
};

Status UnigramModel::read(const JsonValue& value, TokenTable& tokens) {
  COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "unk_id", "vocab", "byte_fallback"}));
  COLLEGIUM_ASSIGN_OR_RETURN(byte_fallback_, value.bool_or("byte_fallback", false));
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, required(value, "vocab"));
  simdjson::dom::array array;
  if (list.element().get(array) != simdjson::SUCCESS)
    return Status::corruption(list.where() + ": is no array");
  double lowest = 0;
  for (const auto element : array) {
    const std::size_t id = scores_.size();
    const auto where = [&] { return list.where() + "[" + std::to_string(id) + "]: "; };
    simdjson::dom::array pair;
    std::string_view token;
    double score = 0;
    if (element.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
        pair.at(0).get(token) != simdjson::SUCCESS || pair.at(1).get(score) != simdjson::SUCCESS)
      return Status::corruption(where() + "is not a token and its score");
    score = as_package_reads(score);
    if (!std::isfinite(score)) return Status::corruption(where() + "the score is not finite");
    if (token.empty()) return Status::corruption(where() + "the token is empty");
    if (token.size() > kMaxTokenBytes)
      return Status::not_supported(where() + "the token has " + std::to_string(token.size()) +
                                   " bytes; here at most " + std::to_string(kMaxTokenBytes) +
                                   " are run");
    if (tokens.find(token) >= 0)
      return Status::corruption(where() + "token " + in_quotes(token) + " is there twice");
    tokens.add(token, static_cast<std::int32_t>(id));
    lowest = scores_.empty() ? score : std::min(lowest, score);
    scores_.push_back(score);
  }
  if (scores_.empty()) return Status::corruption(list.where() + ": is empty");
  unknown_score_ = lowest - kUnknownPenalty;
  const auto unk = value.get("unk_id");
  if (!unk.ok() || unk->is_null())
    return Status::not_supported(value.where() +
                                 ": a Unigram model without unk_id is not run here");
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t unk_id, unk->as_unsigned());
  if (unk_id >= scores_.size())
    return Status::corruption(unk->where() + ": " + std::to_string(unk_id) + " is not in [0, " +
                              std::to_string(scores_.size()) + ")");
  unk_ = static_cast<std::int32_t>(unk_id);
  std::vector<std::pair<std::string_view, std::int32_t>> entries;
  entries.reserve(scores_.size());
  for (std::size_t i = 0; i < scores_.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    entries.emplace_back(tokens.token(id), id);
  }
  trie_ = TokenTrie(std::move(entries));
  constexpr char kHex[] = "0123456789ABCDEF";
  for (std::size_t byte = 0; byte < 256; ++byte)
    byte_ids_[byte] = tokens.find(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">");
  return {};
}

void UnigramModel::tokenize_piece(std::string_view text, std::size_t begin, std::size_t end,
                                  Scratch& scratch, std::vector<ModelToken>& out) const {
  const std::string_view piece = text.substr(begin, end - begin);
  auto& nodes = scratch.nodes;
  nodes.assign(piece.size() + 1, {0, 0, -1});
  const auto offer = [&](std::size_t at, double score, std::size_t from, std::int32_t id) {
    if (nodes[at].id < 0 || score > nodes[at].score)
      nodes[at] = {score, static_cast<std::uint32_t>(from), id};
  };
  for (std::size_t at = 0; at < piece.size();) {
    const double here = nodes[at].score;
    const std::size_t size = utf8_length(piece[at]);
    bool single = false;
    trie_.for_each_prefix(piece.substr(at), [&](const TokenTrie::Match& match) {
      offer(at + match.size, scores_[static_cast<std::size_t>(match.id)] + here, at, match.id);
      single |= match.size == size;
    });
    if (!single) offer(at + size, unknown_score_ + here, at, unk_);
    at += size;
  }
  // Backwards; unknown characters beside each other are one token.
  const std::size_t first = out.size();
  std::size_t fused_end = 0;  // of unknown characters not pushed yet; 0: none
  for (std::size_t at = piece.size(); at > 0;) {
    const Scratch::Node& node = nodes[at];
    if (node.id == unk_) {
      if (fused_end == 0) fused_end = at;
    } else {
      if (fused_end != 0) push_unknown(text, begin + at, begin + fused_end, out);
      fused_end = 0;
      out.push_back({node.id, begin + node.begin, begin + at});
    }
    at = node.begin;
  }
  if (fused_end != 0) push_unknown(text, begin, begin + fused_end, out);
  std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
}

// Adds the tokens of unknown characters, last one first. Together they may be a token after all.
void UnigramModel::push_unknown(std::string_view text, std::size_t begin, std::size_t end,
                                std::vector<ModelToken>& out) const {
  const std::string_view part = text.substr(begin, end - begin);
  if (const std::int32_t id = tokens_.find_model(part); id >= 0) {
    out.push_back({id, begin, end});
    return;
  }
  const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
  if (byte_fallback_ && std::ranges::all_of(part, [&](char c) { return byte_id(c) >= 0; })) {
    for (std::size_t i = part.size(); i-- > 0;) out.push_back({byte_id(part[i]), begin, end});
    return;
  }
  out.push_back({unk_, begin, end});
}

void UnigramModel::add_to(Digest& digest) const {
  const std::string covered = "unigram " + std::to_string(unk_) + (byte_fallback_ ? "b" : "-");
  digest.update(std::as_bytes(std::span(covered)));
  digest.update(std::as_bytes(std::span(scores_)));
}

}  // namespace

Result<std::unique_ptr<const TokenModel>> read_unigram_model(const JsonValue& value,
                                                             TokenTable& tokens) {
  auto model = std::make_unique<UnigramModel>(tokens);
  COLLEGIUM_RETURN_IF_ERROR(model->read(value, tokens));
  return std::unique_ptr<const TokenModel>(std::move(model));
}

}  // namespace collegium::core
