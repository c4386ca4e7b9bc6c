#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>

#include "collegium/core/file_envelope.h"
#include "collegium/core/text/tokenizer.h"
#include "io/mapped_file.h"
#include "text/sentencepiece_model.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxModelBytes = std::size_t{256} << 20;
// The library counts bytes in an int, and normalisation can make several of one.
constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;
// It joins neighbouring characters that the model does not know to one token, which it copies for
// each of them: a run of n bytes takes n * n time, half a minute for so many. To encode such a run
// in parts would change what follows it, since the scores of a whole text are summed in floats.
// Byte fallback leaves nothing unknown.
constexpr std::size_t kMaxTextBytesWithUnknown = std::size_t{1} << 20;

class SentencePiece final : public Tokenizer {
 public:
  static Result<std::shared_ptr<const Tokenizer>> create(SentencePieceModel model,
                                                         const std::string& where) {
    std::shared_ptr<SentencePiece> made(new SentencePiece());
    const std::string checked = model.serialize();
    if (const auto status = made->processor_.LoadFromSerializedProto(checked); !status.ok())
      return Status::corruption(where + ": SentencePiece refuses it: " + status.message());
    const std::string covered = "sentencepiece 1\n" + checked;
    made->digest_ = digest_hex(std::as_bytes(std::span(covered)));
    made->max_text_bytes_ = model.byte_fallback ? kMaxTextBytes : kMaxTextBytesWithUnknown;
    made->pieces_ = std::move(model.pieces);
    for (std::size_t i = 0; i < made->pieces_.size(); ++i)
      made->ids_.emplace(made->pieces_[i].text, static_cast<std::int32_t>(i));
    made->bos_ = made->control_id(model.bos_piece);
    made->eos_ = made->control_id(model.eos_piece);
    return std::shared_ptr<const Tokenizer>(std::move(made));
  }

  Result<Encoding> encode(std::string_view text, const EncodeOptions& options) const override;
  Result<std::string> decode(std::span<const std::int32_t> ids,
                             bool skip_special_tokens) const override;
  std::size_t vocab_size() const noexcept override { return pieces_.size(); }
  std::int32_t token_id(std::string_view token) const override {
    const auto at = ids_.find(token);
    return at == ids_.end() ? -1 : at->second;
  }
  std::string_view token(std::int32_t id) const override {
    return id >= 0 && static_cast<std::size_t>(id) < pieces_.size()
               ? std::string_view(pieces_[static_cast<std::size_t>(id)].text)
               : std::string_view();
  }
  std::string digest() const override { return digest_; }

 private:
  SentencePiece() = default;

  bool is_control(std::int32_t id) const {
    return pieces_[static_cast<std::size_t>(id)].type == SentencePieceModel::PieceType::kControl;
  }
  std::int32_t control_id(std::string_view piece) const {
    const std::int32_t id = token_id(piece);
    return id >= 0 && is_control(id) ? id : -1;
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::vector<SentencePieceModel::Piece> pieces_;
  std::unordered_map<std::string_view, std::int32_t> ids_;  // into pieces_
  std::int32_t bos_ = -1;
  std::int32_t eos_ = -1;
  std::size_t max_text_bytes_ = 0;
  std::string digest_;
};

Result<Encoding> SentencePiece::encode(std::string_view text, const EncodeOptions& options) const {
  COLLEGIUM_RETURN_IF_ERROR(check_utf8(text, "text"));
  if (text.size() > max_text_bytes_)
    return Status::invalid_argument("text: has " + std::to_string(text.size()) +
                                    " bytes, this SentencePiece model takes at most " +
                                    std::to_string(max_text_bytes_));
  const bool begins = options.add_special_tokens && bos_ >= 0;
  const bool ends = options.add_special_tokens && eos_ >= 0;
  const std::size_t around = std::size_t{begins} + std::size_t{ends};
  if (options.max_tokens != 0 && options.max_tokens < around)
    return Status::invalid_argument("max_tokens: " + std::to_string(options.max_tokens) +
                                    " leaves no room for the " + std::to_string(around) +
                                    " special tokens");
  try {
    sentencepiece::ImmutableSentencePieceText pieces;
    if (const auto status = processor_.Encode(text, pieces.mutable_proto()); !status.ok())
      return Status::internal(std::string("SentencePiece: ") + status.message());
    std::size_t count = pieces.pieces_size();
    Encoding encoding;
    if (options.max_tokens != 0 && count + around > options.max_tokens) {
      count = options.max_tokens - around;
      encoding.truncated = true;
    }
    encoding.ids.reserve(count + around);
    encoding.offsets.reserve(count + around);
    const auto push = [&](std::int32_t id, ByteSpan source) {
      encoding.ids.push_back(id);
      encoding.offsets.push_back(source);
    };
    if (begins) push(bos_, {0, 0});
    for (std::size_t i = 0; i < count; ++i) {
      const auto piece = pieces.pieces(static_cast<int>(i));
      push(static_cast<std::int32_t>(piece.id()), {piece.begin(), piece.end()});
    }
    if (ends) push(eos_, {0, 0});
    return encoding;
  } catch (const std::exception& error) {
    return Status::internal(std::string("SentencePiece: ") + error.what());
  }
}

Result<std::string> SentencePiece::decode(std::span<const std::int32_t> ids,
                                          bool skip_special_tokens) const {
  std::string out;
  std::vector<int> run;  // up to a control piece, which the library would leave out
  const auto flush = [&]() -> Status {
    std::string text;
    if (const auto status = processor_.Decode(run, &text); !status.ok())
      return Status::internal(std::string("SentencePiece: ") + status.message());
    run.clear();
    out += text;
    return {};
  };
  try {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= pieces_.size())
        return Status::invalid_argument("ids[" + std::to_string(i) +
                                        "]: " + std::to_string(ids[i]) + " is not in [0, " +
                                        std::to_string(pieces_.size()) + ")");
      if (!is_control(ids[i])) {
        run.push_back(ids[i]);
      } else if (!skip_special_tokens) {
        COLLEGIUM_RETURN_IF_ERROR(flush());
        out += token(ids[i]);
      }
    }
    COLLEGIUM_RETURN_IF_ERROR(flush());
  } catch (const std::exception& error) {
    return Status::internal(std::string("SentencePiece: ") + error.what());
  }
  return out;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_sentencepiece(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > kMaxModelBytes)
    return Status::not_supported(path + ": has " + std::to_string(file.bytes().size()) +
                                 " bytes, at most " + std::to_string(kMaxModelBytes));
  COLLEGIUM_ASSIGN_OR_RETURN(SentencePieceModel model,
                             parse_sentencepiece_model(file.bytes(), path));
  try {
    return SentencePiece::create(std::move(model), path);
  } catch (const std::exception& error) {
    return Status::corruption(path + ": SentencePiece refuses it: " + error.what());
  }
}

}  // namespace collegium::core
