#include "text/sentencepiece_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string_view>
#include <unordered_set>

#include "io/in_quotes.h"
#include "text/protobuf.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

using Wire = ProtobufField::Wire;
using PieceType = SentencePieceModel::PieceType;

constexpr std::size_t kMaxPieces = 2'000'000;
constexpr std::size_t kMaxPieceBytes = 4096;
constexpr std::size_t kMaxSurfaceBytes = 256;
constexpr std::size_t kMaxCharsmapBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxRuleBytes = 256;
constexpr std::size_t kMaxReplacementBytes = 1024;
// The library has room for 32 rules that match at one place and for 64 user-defined pieces, and
// does not look whether there are more. Pieces that begin with each other cost time only.
constexpr std::size_t kMaxNestedRules = 32;
constexpr std::size_t kMaxNestedUserDefined = 64;
constexpr std::size_t kMaxNestedPieces = 1024;

// The charsmap is u32 size, a double array of so many bytes, and strings that end with NUL. The
// array is an automaton over bytes whose final states lead to the strings. The library follows it
// unchecked, so here every place is visited that a search can come to.
class CharsmapChecker {
 public:
  explicit CharsmapChecker(std::string_view blob) : blob_(blob) {}

  // What is wrong with it, or "".
  std::string_view fault() {
    std::uint32_t bytes = 0;
    if (blob_.size() <= sizeof bytes) return "is cut short";
    std::memcpy(&bytes, blob_.data(), sizeof bytes);
    if (bytes % 4 != 0 || bytes < 4 || bytes >= blob_.size() - sizeof bytes || blob_.back() != '\0')
      return "has sizes that do not fit";
    units_.resize(bytes / 4);
    std::memcpy(units_.data(), blob_.data() + sizeof bytes, bytes);
    strings_ = blob_.substr(sizeof bytes + bytes);
    visits_.assign(units_.size() * kUtf8States, kNew);
    visit(0, 0, 0);
    return fault_;
  }

 private:
  static constexpr unsigned kUtf8States = 8;
  static constexpr unsigned kBad = kUtf8States;
  static constexpr std::uint8_t kNew = 255;
  static constexpr std::uint8_t kOpen = 254;

  // Where a text is within a character: 0 between two, 1-3 that many continuations to go, 4-7
  // behind E0, ED, F0, F4, whose next byte has narrower bounds.
  static unsigned next_state(unsigned state, unsigned byte) {
    const auto in = [&](unsigned low, unsigned high) { return low <= byte && byte <= high; };
    switch (state) {
      case 0:
        if (byte < 0x80) return 0;
        if (in(0xc2, 0xdf)) return 1;
        if (byte == 0xe0) return 4;
        if (byte == 0xed) return 5;
        if (in(0xe1, 0xef)) return 2;
        if (byte == 0xf0) return 6;
        if (in(0xf1, 0xf3)) return 3;
        return byte == 0xf4 ? 7 : kBad;
      case 4:
        return in(0xa0, 0xbf) ? 1 : kBad;
      case 5:
        return in(0x80, 0x9f) ? 1 : kBad;
      case 6:
        return in(0x90, 0xbf) ? 2 : kBad;
      case 7:
        return in(0x80, 0x8f) ? 2 : kBad;
      default:
        return in(0x80, 0xbf) ? state - 1 : kBad;
    }
  }

  // The most rules that end on one way from `node`, itself included; sets fault_.
  std::size_t visit(std::size_t node, unsigned state, std::size_t depth) {
    std::uint8_t& seen = visits_[node * kUtf8States + state];
    if (seen == kOpen) return stop("leads in a circle");
    if (seen != kNew) return seen;
    if (depth > kMaxRuleBytes) return stop("has a rule that is too long");
    seen = kOpen;
    const std::uint32_t unit = units_[node];
    const std::size_t base = node ^ std::size_t{unit >> 10} << ((unit & 0x200u) >> 6);
    if ((base | 0xff) >= units_.size()) return stop("leads out of itself");
    const bool ends_rule = node != 0 && (unit >> 8 & 1) != 0;
    if (ends_rule && state != 0) return stop("has a rule that is not UTF-8");
    if (ends_rule && !leads_to_string(units_[base] & 0x7fffffffu))
      return stop("has a rule that leads to no good string");
    std::size_t most = 0;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::size_t child = base ^ byte;
      if ((units_[child] & 0x800000ffu) != byte) continue;
      const unsigned then = next_state(state, byte);
      if (then == kBad) return stop("has a rule that is not UTF-8");
      most = std::max(most, visit(child, then, depth + 1));
      if (!fault_.empty()) return 0;
    }
    most += std::size_t{ends_rule};
    if (most > kMaxNestedRules) return stop("has too many rules that begin with one another");
    seen = static_cast<std::uint8_t>(most);
    return most;
  }

  bool leads_to_string(std::size_t value) const {
    if (value >= strings_.size()) return false;
    const std::string_view to = strings_.substr(value, kMaxReplacementBytes + 1);
    const std::size_t size = to.find('\0');
    return size != std::string_view::npos && find_invalid_utf8(to.substr(0, size)) == size;
  }

  std::size_t stop(std::string_view fault) {
    fault_ = fault;
    return 0;
  }

  std::string_view blob_;
  std::string_view strings_;
  std::vector<std::uint32_t> units_;
  std::vector<std::uint8_t> visits_;  // by node and UTF-8 state: kNew, kOpen, or what visit() gave
  std::string_view fault_;
};

struct Reader {
  SentencePieceModel model;
  std::string where;

  Status damaged(std::string_view what) const {
    return Status::corruption(where + ": " + std::string(what));
  }
  Status unsupported(std::string_view what) const {
    return Status::not_supported(where + ": " + std::string(what));
  }

  // Calls `function(field)` for each field of a message.
  template <typename Function>
  Status for_each(std::string_view message, std::string_view what, Function function) const {
    ProtobufReader reader(message);
    while (!reader.at_end()) {
      ProtobufField field;
      if (!reader.next(field))
        return damaged(std::string(what) + " is no message of a protocol buffer");
      COLLEGIUM_RETURN_IF_ERROR(function(field));
    }
    return {};
  }

  Status read_bool(const ProtobufField& field, bool& to) const {
    if (field.wire != Wire::kVarint || field.value > 1)
      return damaged("field " + std::to_string(field.number) + " is no boolean");
    to = field.value == 1;
    return {};
  }
  Status read_text(const ProtobufField& field, std::size_t max_bytes, std::string& to) const {
    if (field.wire != Wire::kBytes || field.bytes.size() > max_bytes ||
        find_invalid_utf8(field.bytes) != field.bytes.size())
      return damaged("field " + std::to_string(field.number) + " is no text of at most " +
                     std::to_string(max_bytes) + " bytes");
    to = field.bytes;
    return {};
  }

  Status read_file(std::string_view bytes) {
    COLLEGIUM_RETURN_IF_ERROR(
        for_each(bytes, "the file", [&](const ProtobufField& field) -> Status {
          if (field.number == 0 || field.number > 5) return {};  // extensions change no ids
          if (field.wire != Wire::kBytes)
            return damaged("field " + std::to_string(field.number) + " is no message");
          switch (field.number) {
            case 1:
              return read_piece(field.bytes);
            case 2:
              return read_trainer(field.bytes);
            case 3:
              return read_normalizer(field.bytes);
            case 5:
              return read_denormalizer(field.bytes);
            default:
              return {};  // 4: the trainer's self test
          }
        }));
    COLLEGIUM_RETURN_IF_ERROR(check_pieces());
    return check_charsmap();
  }

  Status read_piece(std::string_view message) {
    if (model.pieces.size() == kMaxPieces)
      return damaged("more than " + std::to_string(kMaxPieces) + " pieces");
    SentencePieceModel::Piece piece;
    COLLEGIUM_RETURN_IF_ERROR(
        for_each(message, "a piece", [&](const ProtobufField& field) -> Status {
          if (field.number == 1) return read_text(field, kMaxPieceBytes, piece.text);
          if (field.number == 2) {
            piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
            if (field.wire != Wire::kFixed32 || !std::isfinite(piece.score))
              return damaged("a piece's score is no finite number");
          }
          if (field.number == 3) {
            if (field.wire != Wire::kVarint || field.value < 1 || field.value > 6)
              return damaged("a piece's type is not in [1, 6]");
            piece.type = static_cast<PieceType>(field.value);
          }
          return {};
        }));
    if (piece.text.empty() || piece.text.find('\0') != std::string::npos)
      return damaged("piece " + std::to_string(model.pieces.size()) + " is empty or holds a NUL");
    model.pieces.push_back(std::move(piece));
    return {};
  }

  Status read_trainer(std::string_view message) {
    return for_each(message, "the trainer's spec", [&](const ProtobufField& field) -> Status {
      switch (field.number) {
        case 3:
          if (field.wire != Wire::kVarint || field.value < 1 || field.value > 4)
            return damaged("the model's type is not in [1, 4]");
          if (field.value > 2)
            return unsupported(
                "the model's type is word or character, only unigram and BPE are "
                "supported");
          model.kind = static_cast<SentencePieceModel::Kind>(field.value);
          return {};
        case 24:
          return read_bool(field, model.treat_whitespace_as_suffix);
        case 35:
          return read_bool(field, model.byte_fallback);
        case 44:
          return read_text(field, kMaxSurfaceBytes, model.unk_surface);
        case 45:
          return read_text(field, kMaxPieceBytes, model.unk_piece);
        case 46:
          return read_text(field, kMaxPieceBytes, model.bos_piece);
        case 47:
          return read_text(field, kMaxPieceBytes, model.eos_piece);
        case 48:
          return read_text(field, kMaxPieceBytes, model.pad_piece);
        default:
          return {};  // how it was trained
      }
    });
  }

  Status read_normalizer(std::string_view message) {
    return for_each(message, "the normalizer's spec", [&](const ProtobufField& field) -> Status {
      switch (field.number) {
        case 2:
          if (field.wire != Wire::kBytes || field.bytes.size() > kMaxCharsmapBytes)
            return damaged("the charsmap is no bytes, or too many");
          model.charsmap = field.bytes;
          return {};
        case 3:
          return read_bool(field, model.add_dummy_prefix);
        case 4:
          return read_bool(field, model.remove_extra_whitespaces);
        case 5:
          return read_bool(field, model.escape_whitespaces);
        default:
          return {};
      }
    });
  }

  Status read_denormalizer(std::string_view message) const {
    return for_each(message, "the denormalizer's spec", [&](const ProtobufField& field) -> Status {
      if (field.number == 2 && (field.wire != Wire::kBytes || !field.bytes.empty()))
        return unsupported("denormalisation rules are not supported");
      return {};
    });
  }

  Status check_pieces() {
    std::unordered_set<std::string_view> seen;
    std::array<bool, 256> byte_seen{};
    std::vector<std::string_view> all;
    std::vector<std::string_view> user_defined;
    std::size_t normal = 0;
    for (std::size_t i = 0; i < model.pieces.size(); ++i) {
      const SentencePieceModel::Piece& piece = model.pieces[i];
      if (!seen.insert(piece.text).second)
        return damaged("piece " + in_quotes(piece.text) + " comes twice");
      if (piece.type == PieceType::kUnknown) {
        if (model.unknown >= 0) return damaged("two pieces have the type unknown");
        model.unknown = static_cast<std::int32_t>(i);
      } else if (piece.type == PieceType::kByte) {
        unsigned byte = 256;
        const char* digits = piece.text.data() + 3;
        if (piece.text.size() != 6 || !piece.text.starts_with("<0x") || piece.text[5] != '>' ||
            std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2 ||
            std::any_of(digits, digits + 2, [](char c) { return c >= 'a'; }) ||
            !model.byte_fallback)
          return damaged("piece " + in_quotes(piece.text) + " is no byte's");
        byte_seen[byte] = true;
      } else if (piece.type != PieceType::kControl) {
        all.push_back(piece.text);
        if (piece.type == PieceType::kUserDefined) user_defined.push_back(piece.text);
        if (piece.type == PieceType::kNormal) ++normal;
      }
    }
    if (model.unknown < 0) return damaged("no piece has the type unknown");
    if (normal == 0) return damaged("no piece has the type normal");
    if (model.byte_fallback &&
        std::find(byte_seen.begin(), byte_seen.end(), false) != byte_seen.end())
      return damaged("byte_fallback without a piece for each byte");
    if (deepest(std::move(all)) > kMaxNestedPieces ||
        deepest(std::move(user_defined)) > kMaxNestedUserDefined)
      return damaged("too many pieces begin with one another");
    return {};
  }

  // The most texts of which each begins with the one before.
  static std::size_t deepest(std::vector<std::string_view> texts) {
    std::sort(texts.begin(), texts.end());
    std::vector<std::string_view> chain;
    std::size_t most = 0;
    for (const std::string_view text : texts) {
      while (!chain.empty() && !text.starts_with(chain.back())) chain.pop_back();
      chain.push_back(text);
      most = std::max(most, chain.size());
    }
    return most;
  }

  Status check_charsmap() const {
    if (model.charsmap.empty()) return {};
    const std::string_view fault = CharsmapChecker(model.charsmap).fault();
    return fault.empty() ? Status() : damaged("the charsmap " + std::string(fault));
  }
};

}  // namespace

std::string SentencePieceModel::serialize() const {
  ProtobufWriter file;
  for (const Piece& piece : pieces) {
    ProtobufWriter out;
    out.put(1, piece.text);
    out.put_float(2, piece.score);
    out.put(3, static_cast<std::uint64_t>(piece.type));
    file.put(1, out.bytes());
  }
  ProtobufWriter trainer;
  trainer.put(3, static_cast<std::uint64_t>(kind));
  trainer.put(24, std::uint64_t{treat_whitespace_as_suffix});
  trainer.put(35, std::uint64_t{byte_fallback});
  trainer.put(44, unk_surface);
  trainer.put(45, unk_piece);
  trainer.put(46, bos_piece);
  trainer.put(47, eos_piece);
  trainer.put(48, pad_piece);
  file.put(2, trainer.bytes());
  ProtobufWriter normalizer;
  normalizer.put(2, charsmap);
  normalizer.put(3, std::uint64_t{add_dummy_prefix});
  normalizer.put(4, std::uint64_t{remove_extra_whitespaces});
  normalizer.put(5, std::uint64_t{escape_whitespaces});
  file.put(3, normalizer.bytes());
  return file.bytes();
}

Result<SentencePieceModel> parse_sentencepiece_model(std::span<const std::byte> bytes,
                                                     const std::string& where) {
  Reader reader{{}, where};
  COLLEGIUM_RETURN_IF_ERROR(
      reader.read_file({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  return std::move(reader.model);
}

}  // namespace collegium::core
