#include "text/wordpiece.h"

#include <algorithm>
#include <array>
#include <span>
#include <unordered_map>
#include <utility>

#include "collegium/core/file_envelope.h"
#include "collegium/core/text/tokenizer.h"
#include "io/in_quotes.h"
#include "io/mapped_file.h"
#include "text/bert_words.h"
#include "text/pair_lengths.h"
#include "text/token_trie.h"
#include "text/utf8.h"
#include "text/wordpiece_config.h"

namespace collegium::core {
namespace {

constexpr std::string_view kContinuation = "##";
constexpr std::size_t kMaxVocabularyBytes = std::size_t{64} << 20;

// The file's tokens and what is looked up in them; `bytes` owns what the views point to.
struct Vocabulary {
  std::string bytes;
  std::vector<std::string_view> tokens;
  std::unordered_map<std::string_view, std::int32_t> ids;

  std::int32_t id(std::string_view token) const {
    const auto at = ids.find(token);
    return at == ids.end() ? -1 : at->second;
  }
};

struct SpecialToken {
  std::string_view text;
  std::int32_t id;
};

class WordPiece final : public Tokenizer {
 public:
  static Result<std::shared_ptr<const Tokenizer>> create(
      std::unique_ptr<const Vocabulary> vocabulary, const WordPieceConfig& config,
      const std::vector<std::string>& special, const std::string& where);

  Result<Encoding> encode(std::string_view text, const EncodeOptions& options) const override;
  Result<Encoding> encode_pair(std::string_view first, std::string_view second,
                               const EncodeOptions& options) const override;
  Result<std::string> decode(std::span<const std::int32_t> ids,
                             bool skip_special_tokens) const override;
  std::size_t vocab_size() const noexcept override { return vocabulary_->tokens.size(); }
  std::int32_t token_id(std::string_view token) const override { return vocabulary_->id(token); }
  std::string_view token(std::int32_t id) const override {
    return id >= 0 && static_cast<std::size_t>(id) < vocab_size() ? vocabulary_->tokens[id]
                                                                  : std::string_view();
  }
  std::string digest() const override { return digest_; }

 private:
  class Output;

  WordPiece() = default;
  // Adds the tokens of `text`, at most until `encoding` has `limit`.
  void append_tokens(std::string_view text, std::size_t limit, Encoding& encoding) const;
  // The first special token at or behind `position` and where it starts; id -1 if there is none.
  SpecialToken find_special(std::string_view text, std::size_t& position) const;
  bool is_special(std::int32_t id) const {
    return std::any_of(special_.begin(), special_.end(),
                       [&](const SpecialToken& token) { return token.id == id; });
  }

  std::unique_ptr<const Vocabulary> vocabulary_;
  BertWordOptions words_;
  TokenTrie initial_;                  // tokens that may begin a word
  TokenTrie continuation_;             // those that may go on, without "##"
  std::vector<SpecialToken> special_;  // longer ones first
  std::array<bool, 256> starts_special_{};
  std::int32_t unk_ = -1;
  std::int32_t cls_ = -1;
  std::int32_t sep_ = -1;
  std::string digest_;
};

// Cuts words into tokens and collects them, up to a limit.
class WordPiece::Output final : public BertWordSplitter::Sink {
 public:
  Output(const WordPiece& wordpiece, std::size_t limit, Encoding& encoding)
      : wordpiece_(wordpiece), limit_(limit), encoding_(encoding) {}

  bool word(const BertWord& word) override {
    const std::size_t before = encoding_.ids.size();
    if (word.too_long() || !pieces(word)) {
      encoding_.ids.resize(before);
      encoding_.offsets.resize(before);
      push(wordpiece_.unk_, word.source);
    }
    return keep();
  }

  bool special(std::int32_t id, ByteSpan source) {
    push(id, source);
    return keep();
  }

 private:
  // Greedy: the longest token that fits, again and again. False if at some place none does.
  bool pieces(const BertWord& word) {
    const std::string_view text = word.text();
    std::size_t position = 0;
    while (position < text.size()) {
      const TokenTrie& trie = position == 0 ? wordpiece_.initial_ : wordpiece_.continuation_;
      const TokenTrie::Match match = trie.longest(text.substr(position));
      if (match.id < 0) return false;
      const std::size_t end = position + match.size;
      push(match.id, {word.begins[position], word.ends[end - 1]});
      position = end;
    }
    return true;
  }

  void push(std::int32_t id, ByteSpan source) {
    encoding_.ids.push_back(id);
    encoding_.offsets.push_back(source);
  }

  // False once there is one token more than the limit.
  bool keep() {
    if (encoding_.ids.size() <= limit_) return true;
    encoding_.ids.resize(limit_);
    encoding_.offsets.resize(limit_);
    encoding_.truncated = true;
    return false;
  }

  const WordPiece& wordpiece_;
  std::size_t limit_;
  Encoding& encoding_;
};

SpecialToken WordPiece::find_special(std::string_view text, std::size_t& position) const {
  for (; position < text.size(); ++position) {
    if (!starts_special_[static_cast<unsigned char>(text[position])]) continue;
    for (const SpecialToken& token : special_) {
      if (text.substr(position, token.text.size()) == token.text) return token;
    }
  }
  return {{}, -1};
}

Result<Encoding> WordPiece::encode(std::string_view text, const EncodeOptions& options) const {
  COLLEGIUM_RETURN_IF_ERROR(check_utf8(text, "text"));
  const std::size_t around = options.add_special_tokens ? 2 : 0;
  COLLEGIUM_RETURN_IF_ERROR(check_room(options, around));
  const std::size_t limit =
      options.max_tokens == 0 ? std::size_t(-1) : options.max_tokens - around + (around ? 1 : 0);

  Encoding encoding;
  if (options.add_special_tokens) {
    encoding.ids.push_back(cls_);
    encoding.offsets.push_back({0, 0});
  }
  append_tokens(text, limit, encoding);
  if (options.add_special_tokens) {
    encoding.ids.push_back(sep_);
    encoding.offsets.push_back({0, 0});
  }
  return encoding;
}

// [CLS] first [SEP] second [SEP], the second text and its [SEP] of segment 1.
Result<Encoding> WordPiece::encode_pair(std::string_view first, std::string_view second,
                                        const EncodeOptions& options) const {
  COLLEGIUM_RETURN_IF_ERROR(check_utf8(first, "first text"));
  COLLEGIUM_RETURN_IF_ERROR(check_utf8(second, "second text"));
  const std::size_t around = options.add_special_tokens ? 3 : 0;
  COLLEGIUM_RETURN_IF_ERROR(check_room(options, around));
  // What is beyond the room for both cannot stay.
  const bool limited = options.max_tokens != 0;
  const std::size_t room = limited ? options.max_tokens - around : std::size_t(-1);
  const std::size_t limit = limited ? room + 1 : room;
  std::array<Encoding, 2> parts;
  append_tokens(first, limit, parts[0]);
  append_tokens(second, limit, parts[1]);
  if (room % 2 == 1 && (parts[0].truncated || parts[1].truncated) &&
      parts[0].ids.size() == parts[1].ids.size()) {
    // The longer text has one token more, so now it must be known which that is.
    parts = {};
    append_tokens(first, std::size_t(-1), parts[0]);
    append_tokens(second, std::size_t(-1), parts[1]);
  }
  const std::array<std::size_t, 2> kept =
      pair_lengths(parts[0].ids.size(), parts[1].ids.size(), room);

  Encoding encoding;
  const auto push = [&](std::int32_t id, ByteSpan span, std::int32_t type_id) {
    encoding.ids.push_back(id);
    encoding.offsets.push_back(span);
    encoding.type_ids.push_back(type_id);
  };
  if (options.add_special_tokens) push(cls_, {0, 0}, 0);
  for (std::int32_t part : {0, 1}) {
    const Encoding& from = parts[static_cast<std::size_t>(part)];
    const std::size_t count = kept[static_cast<std::size_t>(part)];
    encoding.truncated |= from.truncated || count < from.ids.size();
    for (std::size_t i = 0; i < count; ++i) push(from.ids[i], from.offsets[i], part);
    if (options.add_special_tokens) push(sep_, {0, 0}, part);
  }
  return encoding;
}

void WordPiece::append_tokens(std::string_view text, std::size_t limit, Encoding& encoding) const {
  Output output(*this, limit, encoding);
  BertWordSplitter splitter(words_, output);
  // Special tokens are found in the raw text, before it is normalised.
  std::size_t begin = 0;
  for (bool more = true; more && begin < text.size();) {
    std::size_t end = begin;
    const SpecialToken special = find_special(text, end);
    more = splitter.run(text, begin, end);
    begin = end + special.text.size();
    if (more && special.id >= 0) more = output.special(special.id, {end, begin});
  }
}

Result<std::string> WordPiece::decode(std::span<const std::int32_t> ids,
                                      bool skip_special_tokens) const {
  std::string out;
  bool first = true;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= vocab_size())
      return Status::invalid_argument("ids[" + std::to_string(i) + "]: " + std::to_string(ids[i]) +
                                      " is not in [0, " + std::to_string(vocab_size()) + ")");
    if (skip_special_tokens && is_special(ids[i])) continue;
    std::string_view piece = token(ids[i]);
    std::string part;
    if (first) {
      part = piece;
    } else if (piece.starts_with(kContinuation)) {
      part = piece.substr(kContinuation.size());
    } else {
      part = " " + std::string(piece);
    }
    first = false;
    clean_up_wordpiece(part);
    out += part;
  }
  return out;
}

// The trie holds tokens a word can contain; a longer one cannot match.
TokenTrie make_trie(const Vocabulary& vocabulary, std::string_view prefix) {
  std::vector<std::pair<std::string_view, std::int32_t>> tokens;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    std::string_view token = vocabulary.tokens[i];
    if (!token.starts_with(prefix)) continue;
    token.remove_prefix(prefix.size());
    if (token.size() <= BertWord::kMaxChars * 4)
      tokens.emplace_back(token, static_cast<std::int32_t>(i));
  }
  return TokenTrie(std::move(tokens));
}

Result<std::shared_ptr<const Tokenizer>> WordPiece::create(
    std::unique_ptr<const Vocabulary> vocabulary, const WordPieceConfig& config,
    const std::vector<std::string>& special, const std::string& where) {
  std::shared_ptr<WordPiece> made(new WordPiece());
  WordPiece& w = *made;
  w.vocabulary_ = std::move(vocabulary);
  w.words_ = config.words;
  for (const auto& [token, id] :
       {std::pair(&config.unk_token, &w.unk_), std::pair(&config.cls_token, &w.cls_),
        std::pair(&config.sep_token, &w.sep_)}) {
    *id = w.token_id(*token);
    if (*id < 0) return Status::corruption(where + ": has no token " + in_quotes(*token));
  }
  for (const std::string& token : special) {
    const std::int32_t id = w.token_id(token);
    if (id < 0 || token.empty() || w.is_special(id)) continue;
    w.special_.push_back({w.token(id), id});
    w.starts_special_[static_cast<unsigned char>(token[0])] = true;
  }
  std::sort(w.special_.begin(), w.special_.end(), [](const auto& a, const auto& b) {
    return std::pair(b.text.size(), a.id) < std::pair(a.text.size(), b.id);
  });
  w.initial_ = make_trie(*w.vocabulary_, "");
  w.continuation_ = make_trie(*w.vocabulary_, kContinuation);

  std::string covered = "wordpiece 1\n";
  covered += config.words.lowercase ? 'l' : '-';
  covered += config.words.strip_accents ? 's' : '-';
  covered += config.words.split_chinese_chars ? 'c' : '-';
  for (const std::int32_t id : {w.unk_, w.cls_, w.sep_}) covered += "\n" + std::to_string(id);
  for (const SpecialToken& token : w.special_) covered += "\n" + std::to_string(token.id);
  for (const std::string_view token : w.vocabulary_->tokens) (covered += "\n") += token;
  w.digest_ = digest_hex(std::as_bytes(std::span(covered)));
  return std::shared_ptr<const Tokenizer>(std::move(made));
}

// Reads vocab.txt: one token a line, white space at the end of a line is not part of it.
Result<std::unique_ptr<const Vocabulary>> read_vocabulary(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > kMaxVocabularyBytes)
    return Status::not_supported(path + ": has " + std::to_string(file.bytes().size()) +
                                 " bytes, at most " + std::to_string(kMaxVocabularyBytes));
  auto vocabulary = std::make_unique<Vocabulary>();
  vocabulary->bytes.assign(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  const std::string_view bytes = vocabulary->bytes;
  if (const std::size_t bad = find_invalid_utf8(bytes); bad != bytes.size())
    return Status::corruption(path + ": not UTF-8 at offset " + std::to_string(bad));
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = std::min(bytes.find('\n', begin), bytes.size());
    std::string_view token = bytes.substr(begin, end - begin);
    token = token.substr(0, token.find_last_not_of(" \t\r\v\f") + 1);
    const std::string line = "line " + std::to_string(vocabulary->tokens.size() + 1);
    if (token.empty()) return Status::corruption(path + ": " + line + " holds no token");
    const auto id = static_cast<std::int32_t>(vocabulary->tokens.size());
    if (const auto [at, fresh] = vocabulary->ids.try_emplace(token, id); !fresh)
      return Status::corruption(path + ": token " + in_quotes(token) + " on " + line +
                                " is on line " + std::to_string(at->second + 1) + " too");
    vocabulary->tokens.push_back(token);
    begin = end + 1;
  }
  return std::unique_ptr<const Vocabulary>(std::move(vocabulary));
}

}  // namespace

void clean_up_wordpiece(std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kReplacements) {
    for (std::size_t at = text.find(from); at != std::string::npos;
         at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  }
}

Result<std::shared_ptr<const Tokenizer>> make_wordpiece(const std::vector<std::string>& tokens,
                                                        const WordPieceConfig& config,
                                                        const std::vector<std::string>& special,
                                                        const std::string& where) {
  auto vocabulary = std::make_unique<Vocabulary>();
  std::size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  vocabulary->bytes.reserve(bytes);  // so that the views stay
  for (const std::string& token : tokens) {
    const std::size_t begin = vocabulary->bytes.size();
    vocabulary->bytes += token;
    const std::string_view view(vocabulary->bytes.data() + begin, token.size());
    const auto id = static_cast<std::int32_t>(vocabulary->tokens.size());
    if (!vocabulary->ids.try_emplace(view, id).second)
      return Status::corruption(where + ": token " + in_quotes(token) + " is there twice");
    vocabulary->tokens.push_back(view);
  }
  return WordPiece::create(std::move(vocabulary), config, special, where);
}

Result<std::shared_ptr<const Tokenizer>> load_wordpiece(const std::string& folder) {
  const std::string path = folder + "/vocab.txt";
  COLLEGIUM_ASSIGN_OR_RETURN(auto vocabulary, read_vocabulary(path));
  COLLEGIUM_ASSIGN_OR_RETURN(const WordPieceConfig config, read_wordpiece_config(folder));
  std::vector<std::string> special = config.more_special_tokens;
  for (const std::string* token : {&config.unk_token, &config.cls_token, &config.sep_token,
                                   &config.pad_token, &config.mask_token})
    special.push_back(*token);
  return WordPiece::create(std::move(vocabulary), config, special, path);
}

}  // namespace collegium::core
