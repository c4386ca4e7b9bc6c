#include "text/token_model.h"

#include <span>
#include <string>

#include "text/json_fields.h"

namespace collegium::core {
namespace {

// Old files name no type; it shows in the fields.
Result<std::string> model_type(const JsonValue& value) {
  if (value.is_object() && !value.has("type")) {
    if (value.has("merges")) return std::string("BPE");
    if (value.has("unk_id")) return std::string("Unigram");
    if (value.has("max_input_chars_per_word")) return std::string("WordPiece");
  }
  return required_string(value, "type");
}

}  // namespace

Result<std::unique_ptr<const TokenModel>> TokenModel::read(const JsonValue& value,
                                                           TokenTable& tokens) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, model_type(value));
  if (type == "WordPiece") return read_wordpiece_model(value, tokens);
  if (type == "BPE") return read_bpe_model(value, tokens);
  if (type == "Unigram") return read_unigram_model(value, tokens);
  return kind_not_run(value, "model", type);
}

std::vector<ModelToken> TokenModel::tokenize(const Pieces& pieces) const {
  std::vector<ModelToken> out;
  out.reserve(pieces.list.size());
  Scratch scratch;
  for (const Piece& piece : pieces.list) {
    if (piece.token >= 0) {
      out.push_back({piece.token, piece.begin, piece.end, true});
    } else {
      tokenize_piece(pieces.text.text, piece.begin, piece.end, scratch, out);
    }
  }
  return out;
}

Status read_vocabulary(const JsonValue& model, TokenTable& tokens) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue value, required(model, "vocab"));
  simdjson::dom::object object;
  if (value.element().get(object) != simdjson::SUCCESS)
    return Status::corruption(value.where() + ": is no object of tokens and ids");
  // A few gaps are left in real vocabularies; many would be room for nothing. Counted one by one:
  // the count that is stored stops at 24 bits.
  std::uint64_t count = 0;
  for (const auto field : object) {
    (void)field;
    ++count;
  }
  const std::uint64_t limit = 2 * count + 65'536;
  for (const auto field : object) {
    std::uint64_t id = 0;
    const auto where = [&] { return value.where() + ": token " + in_quotes(field.key) + ": "; };
    if (field.value.get(id) != simdjson::SUCCESS)
      return Status::corruption(where() + "its id is no whole number");
    if (id >= limit)
      return Status::corruption(where() + "id " + std::to_string(id) + " is not in [0, " +
                                std::to_string(limit) + ")");
    if (!tokens.add(field.key, static_cast<std::int32_t>(id)))
      return Status::corruption(where() + "id " + std::to_string(id) + " is taken by " +
                                in_quotes(tokens.token(static_cast<std::int32_t>(id))));
  }
  if (tokens.size() == 0) return Status::corruption(value.where() + ": is empty");
  return {};
}

}  // namespace collegium::core
