#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::core {

// Half-open byte range [begin, end) into the text that was given.
struct ByteSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
  friend bool operator==(const ByteSpan&, const ByteSpan&) = default;
};

struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<ByteSpan> offsets;  // one an id; special tokens have begin == end
  // The segment of each id, as models of pairs take it ("token_type_ids"). Empty: all 0.
  std::vector<std::int32_t> type_ids;
  bool truncated = false;
};

struct EncodeOptions {
  bool add_special_tokens = true;
  // Keep at most this many ids, special tokens included. 0: no limit. Truncation is flagged.
  std::size_t max_tokens = 0;
};

// Text to token ids and back. Immutable after loading; any number of threads may use it.
class COLLEGIUM_API Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // invalid_argument if `text` is not UTF-8 (the message gives the byte offset).
  virtual Result<Encoding> encode(std::string_view text, const EncodeOptions& options) const = 0;
  // Two texts as one input, with the special tokens and segments the model was trained with.
  // Offsets are into the text a token is from. Above max_tokens the longer text loses its end first
  // ("longest_first" of the `tokenizers` package). not_supported where no way to join two texts is
  // known: SentencePiece models and byte-level BPE from a GGUF file.
  virtual Result<Encoding> encode_pair(std::string_view first, std::string_view second,
                                       const EncodeOptions& options) const;
  // out_of_range ids are invalid_argument.
  virtual Result<std::string> decode(std::span<const std::int32_t> ids,
                                     bool skip_special_tokens) const = 0;
  virtual std::size_t vocab_size() const noexcept = 0;
  // -1 if there is no such token.
  virtual std::int32_t token_id(std::string_view token) const = 0;
  // "" for an id out of range.
  virtual std::string_view token(std::int32_t id) const = 0;
  // Covers everything that changes ids: vocabulary, merges, options.
  virtual std::string digest() const = 0;
};

// BERT WordPiece (arXiv 1810.04805) from `vocab.txt`, equal to the `tokenizers` package's
// BertWordPieceTokenizer; `tokenizer_config.json` beside it is honoured where present
// (do_lower_case, strip_accents, tokenize_chinese_chars, never anything else in silence).
// not_found, corruption (duplicate or missing tokens, not UTF-8), not_supported.
COLLEGIUM_API Result<std::shared_ptr<const Tokenizer>> load_wordpiece(const std::string& folder);

// A SentencePiece `.model` (arXiv 1808.06226; unigram and BPE), through the SentencePiece library.
// Every part of the file is checked before the library sees it. Special tokens are <s> before and
// </s> behind a text, each where the model has it as a control piece. Offsets include the white
// space before a word, which belongs to its token.
// Texts of at most 64 MiB; without byte fallback of at most 1 MiB, since the library takes
// quadratic time for a run of characters the model does not know (2 s for 256 KiB of them, half a
// minute for 1 MiB). A longer one is invalid_argument.
// not_found, corruption, not_supported (word and character models, denormalisation rules).
COLLEGIUM_API Result<std::shared_ptr<const Tokenizer>> load_sentencepiece(const std::string& path);

// Byte-level BPE (arXiv 1508.07909) from the `tokenizer.ggml.*` metadata of a GGUF file. Text is
// cut as `tokenizer.ggml.pre` says ("gpt-2", "smollm"), control tokens are matched in the text
// itself. Bytes without a token of their own (some control characters, in small vocabularies) give
// no id. not_found, corruption, not_supported (another model or cutting, by name).
COLLEGIUM_API Result<std::shared_ptr<const Tokenizer>> load_byte_level_bpe(
    const std::string& gguf_path);

// A `tokenizer.json` of the `tokenizers` package: WordPiece, byte-level BPE and Unigram with the
// normalisers, pre-tokenisers and post-processors that models of these kinds use; ids are equal to
// the package's, offsets too, counted in bytes. Parts that are not run here, and fields that are
// not known, are not_supported by name. The file's own `truncation` and `padding` are left out:
// they are defaults of the program that calls, not of the model. A WordPiece file of BERT's kind
// gives the same tokenizer, with the same digest, as load_wordpiece(); of the others texts may have
// at most 16 MiB. decode() does as the package where the decoder is WordPiece, ByteLevel, Metaspace
// or none, and is not_supported with others.
// not_found, corruption, resource_exhausted (above 64 MiB), not_supported.
COLLEGIUM_API Result<std::shared_ptr<const Tokenizer>> load_tokenizer_json(const std::string& path);

struct LoadedTokenizer {
  std::shared_ptr<const Tokenizer> tokenizer;
  // What was read, relative to the folder: "tokenizer.json" or "vocab.txt" first, then those of
  // "tokenizer_config.json" and, with the latter, "special_tokens_map.json" that are there.
  std::vector<std::string> files;
};

// The tokenizer of a model's folder: tokenizer.json where there is one, else vocab.txt as
// load_wordpiece() reads it. A tokenizer_config.json beside tokenizer.json gives no id, but some
// programs build their tokenizer from it: where the two disagree (do_lower_case, strip_accents,
// tokenize_chinese_chars, add_prefix_space) the folder is not_supported, naming both.
// not_found naming both files; not_supported for a SentencePiece model alone, whose ids differ
// from those of the models that come with one.
COLLEGIUM_API Result<LoadedTokenizer> load_tokenizer(const std::string& folder);

// ok, or invalid_argument naming `what` and the offset of the first byte that is not UTF-8.
COLLEGIUM_API Status check_utf8(std::string_view text, std::string_view what);

}  // namespace collegium::core
