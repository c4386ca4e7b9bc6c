#include "text/pipeline_tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "io/in_quotes.h"
#include "text/white_space.h"

namespace collegium::core {
namespace {

// Places in normalised text, which may be Normalizer::kMaxGrowth times as long, and twice that when
// its bytes are spelled, take 32 bits.
constexpr std::size_t kMaxTextBytes = std::size_t{16} << 20;

Status check_text(std::string_view text, std::string_view what) {
  if (text.size() <= kMaxTextBytes) return check_utf8(text, what);
  return Status::invalid_argument(std::string(what) + ": has " + std::to_string(text.size()) +
                                  " bytes, at most " + std::to_string(kMaxTextBytes));
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> PipelineTokenizer::create(Parts parts,
                                                                   const std::string& where) {
  std::shared_ptr<PipelineTokenizer> made(new PipelineTokenizer(std::move(parts)));
  std::vector<AddedToken> added = made->parts_.added;
  std::ranges::stable_partition(added, &AddedToken::special);
  std::array<std::vector<AddedToken>, 2> tokens;
  std::array<std::vector<std::string>, 2> contents;
  made->special_.resize(made->parts_.tokens->size());
  for (const AddedToken& token : added) {
    if (token.special) made->special_[static_cast<std::size_t>(token.id)] = true;
    std::string content = token.content;
    if (token.normalized) {
      AlignedText text = AlignedText::slice(content, 0, content.size());
      COLLEGIUM_RETURN_IF_ERROR(made->parts_.normalizer.apply(text).with_context(where));
      if (text.text.empty())
        return Status::not_supported(where + ": added_tokens: " + in_quotes(content) +
                                     " is nothing when it is normalised");
      content = std::move(text.text);
      made->normalized_spelling_[token.id] = content;
    }
    tokens[token.normalized ? 1 : 0].push_back(token);
    contents[token.normalized ? 1 : 0].push_back(std::move(content));
  }
  made->raw_ = AddedTokenFinder(std::move(tokens[0]), contents[0]);
  made->normalized_ = AddedTokenFinder(std::move(tokens[1]), contents[1]);
  return std::shared_ptr<const Tokenizer>(std::move(made));
}

Result<Encoding> PipelineTokenizer::tokens_of(std::string_view text) const {
  Pieces pieces;
  for (const auto& raw : raw_.find(text)) {
    AlignedText part = AlignedText::slice(text, raw.begin, raw.end);
    if (raw.id < 0) COLLEGIUM_RETURN_IF_ERROR(parts_.normalizer.apply(part));
    const std::size_t base = pieces.text.text.size();
    if (raw.id >= 0) {
      pieces.list.push_back({base, base + part.text.size(), raw.id});
    } else {
      for (const auto& found : normalized_.find(part.text))
        pieces.list.push_back({base + found.begin, base + found.end, found.id});
    }
    if (base == 0) {
      std::swap(pieces.text, part);
    } else {
      pieces.text.append(part, 0, part.text.size());
    }
    // Of all parts together, too.
    if (pieces.text.text.size() > Normalizer::kMaxGrowth * text.size() + Normalizer::kMoreBytes)
      return Status::not_supported("normaliser: makes more than " +
                                   std::to_string(Normalizer::kMaxGrowth) + " bytes of one");
  }
  parts_.pre_tokenizer.apply(pieces);
  if (pieces.text.text.size() > BpeMerges::kMaxTextBytes)
    return Status::invalid_argument("text: becomes " + std::to_string(pieces.text.text.size()) +
                                    " bytes when it is cut, at most " +
                                    std::to_string(BpeMerges::kMaxTextBytes));
  const std::vector<ModelToken> tokens = parts_.model->tokenize(pieces);

  Encoding encoding;
  encoding.ids.reserve(tokens.size());
  encoding.offsets.reserve(tokens.size());
  for (const ModelToken& token : tokens) {
    ByteSpan span = pieces.text.source(token.begin, token.end);
    if (parts_.post_processor.trim_offsets) {
      const std::string_view spelled =
          token.added
              ? std::string_view(pieces.text.text).substr(token.begin, token.end - token.begin)
              : parts_.tokens->token(token.id);
      span = trim(text, spelled, span, encoding.ids.empty());
    }
    encoding.ids.push_back(token.id);
    encoding.offsets.push_back(span);
  }
  return encoding;
}

// Leaves the white space of `token` out of `span`, as many characters as the token has. In the
// byte alphabet a space is U+0120.
ByteSpan PipelineTokenizer::trim(std::string_view text, std::string_view token, ByteSpan span,
                                 bool first) const {
  const auto is_space = [](char32_t c) { return c == 0x120 || is_white_space(c); };
  std::size_t leading = 0;
  for (std::size_t at = 0; at < token.size() && is_space(decode_utf8(token, at));) ++leading;
  std::size_t trailing = 0;
  for (std::size_t at = token.size(); at > 0; ++trailing) {
    at = previous_character(token, at);
    std::size_t next = at;
    if (!is_space(decode_utf8(token, next))) break;
  }
  // More than one was not put there.
  if (leading == 1 && (first || span.begin == 0) && parts_.post_processor.add_prefix_space)
    leading = 0;
  for (; leading > 0 && span.begin < span.end; --leading)
    span.begin += utf8_length(text[span.begin]);
  std::size_t end = span.end;
  for (; trailing > 0 && end > 0; --trailing) end = previous_character(text, end);
  if (trailing == 0) span.end = std::max(end, span.begin);
  return span;
}

Result<Encoding> PipelineTokenizer::encode(std::string_view text,
                                           const EncodeOptions& options) const {
  COLLEGIUM_RETURN_IF_ERROR(check_text(text, "text"));
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding tokens, tokens_of(text));
  return parts_.post_processor.apply(tokens, nullptr, options);
}

Result<Encoding> PipelineTokenizer::encode_pair(std::string_view first, std::string_view second,
                                                const EncodeOptions& options) const {
  COLLEGIUM_RETURN_IF_ERROR(check_text(first, "first text"));
  COLLEGIUM_RETURN_IF_ERROR(check_text(second, "second text"));
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding one, tokens_of(first));
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding other, tokens_of(second));
  return parts_.post_processor.apply(one, &other, options);
}

Result<std::string> PipelineTokenizer::decode(std::span<const std::int32_t> ids,
                                              bool skip_special_tokens) const {
  std::vector<std::string_view> tokens;
  tokens.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!parts_.tokens->has(ids[i]))
      return Status::invalid_argument("ids[" + std::to_string(i) + "]: " + std::to_string(ids[i]) +
                                      " is no token of the vocabulary of " +
                                      std::to_string(vocab_size()));
    if (skip_special_tokens && special_[static_cast<std::size_t>(ids[i])]) continue;
    const auto spelling = normalized_spelling_.find(ids[i]);
    tokens.push_back(spelling != normalized_spelling_.end() ? std::string_view(spelling->second)
                                                            : token(ids[i]));
  }
  return parts_.decoder.decode(tokens);
}

}  // namespace collegium::core
