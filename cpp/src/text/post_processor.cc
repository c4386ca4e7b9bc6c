#include "text/post_processor.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "text/json_fields.h"
#include "text/pair_lengths.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxItems = 1000;
constexpr int kMaxDepth = 8;

using Item = PostProcessor::Item;
using Items = PostProcessor::Items;

Result<std::int32_t> read_small(const JsonValue& value) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t number, value.as_unsigned());
  if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()))
    return Status::corruption(value.where() + ": " + std::to_string(number) + " is above 32 bits");
  return static_cast<std::int32_t>(number);
}

// ["</s>", 2]
Result<std::int32_t> read_token_id(const JsonValue& value, std::string_view key) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue pair, required(value, key));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto parts, pair.as_array(2));
  if (parts.size() != 2 || !parts[0].is_string())
    return Status::corruption(pair.where() + ": must be a token and its id");
  return read_small(parts[1]);
}

struct Reader {
  PostProcessor made;
  bool has_items = false;

  Status set_items(const JsonValue& value) {
    if (has_items)
      return Status::not_supported(value.where() +
                                   ": a second post-processor that adds tokens is not run here");
    has_items = true;
    return {};
  }

  Status set_trim(const JsonValue& value, bool prefix_space) {
    if (made.trim_offsets)
      return Status::not_supported(value.where() + ": offsets trimmed twice are not run here");
    made.trim_offsets = true;
    made.add_prefix_space = prefix_space;
    return {};
  }

  // Reads one piece of a template: {"SpecialToken": {"id": ..}} or {"Sequence": {"id": "A"}}.
  static Status read_piece(const JsonValue& piece,
                           const std::map<std::string, std::vector<std::int32_t>>& special,
                           Items& items) {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(piece, {"SpecialToken", "Sequence"}));
    const bool is_text = piece.has("Sequence");
    if (is_text == piece.has("SpecialToken"))
      return Status::corruption(piece.where() + ": must be a SpecialToken or a Sequence");
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue body,
                               piece.get(is_text ? "Sequence" : "SpecialToken"));
    COLLEGIUM_RETURN_IF_ERROR(only_fields(body, {"id", "type_id"}));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string id, required_string(body, "id"));
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue type, required(body, "type_id"));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::int32_t type_id, read_small(type));
    if (is_text) {
      if (id != "A" && id != "B")
        return Status::corruption(body.where() + ": sequence " + in_quotes(id) +
                                  " must be 'A' or 'B'");
      items.push_back({-1, id == "B" ? 1 : 0, type_id});
      return {};
    }
    const auto found = special.find(id);
    if (found == special.end())
      return Status::corruption(body.where() + ": token " + in_quotes(id) +
                                " is not among special_tokens");
    for (const std::int32_t token : found->second) items.push_back({token, 0, type_id});
    return {};
  }

  Status read_template(const JsonValue& value) {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "single", "pair", "special_tokens"}));
    COLLEGIUM_RETURN_IF_ERROR(set_items(value));
    std::map<std::string, std::vector<std::int32_t>> special;
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue tokens, required(value, "special_tokens"));
    const Status read_special =
        tokens.for_each_field([&](std::string_view key, const JsonValue& token) -> Status {
          COLLEGIUM_RETURN_IF_ERROR(only_fields(token, {"id", "ids", "tokens"}));
          COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, required(token, "ids"));
          COLLEGIUM_ASSIGN_OR_RETURN(const auto ids, list.as_array(kMaxItems));
          for (const JsonValue& id : ids) {
            COLLEGIUM_ASSIGN_OR_RETURN(const std::int32_t number, read_small(id));
            special[std::string(key)].push_back(number);
          }
          return {};
        });
    COLLEGIUM_RETURN_IF_ERROR(read_special);
    for (const auto& [key, items, plain, texts] :
         {std::tuple("single", &made.single, &made.single_plain, 1),
          std::tuple("pair", &made.pair, &made.pair_plain, 2)}) {
      COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, required(value, key));
      COLLEGIUM_ASSIGN_OR_RETURN(const auto pieces, list.as_array(kMaxItems));
      items->clear();
      for (const JsonValue& piece : pieces)
        COLLEGIUM_RETURN_IF_ERROR(read_piece(piece, special, *items));
      plain->clear();
      for (const Item& item : *items)
        if (item.id < 0) plain->push_back(item);
      const auto uses = [&](std::int32_t text) {
        return std::ranges::count(*plain, text, &Item::text);
      };
      if (uses(0) != 1 || uses(1) != texts - 1)
        return Status::not_supported(list.where() + ": each text must be there exactly once");
    }
    return {};
  }

  Status read(const JsonValue& value, int depth) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, required_string(value, "type"));
    if (type == "TemplateProcessing") return read_template(value);
    if (type == "BertProcessing" || type == "RobertaProcessing") {
      const bool roberta = type == "RobertaProcessing";
      COLLEGIUM_RETURN_IF_ERROR(
          roberta ? only_fields(value, {"type", "sep", "cls", "trim_offsets", "add_prefix_space"})
                  : only_fields(value, {"type", "sep", "cls"}));
      COLLEGIUM_RETURN_IF_ERROR(set_items(value));
      COLLEGIUM_ASSIGN_OR_RETURN(const std::int32_t sep, read_token_id(value, "sep"));
      COLLEGIUM_ASSIGN_OR_RETURN(const std::int32_t cls, read_token_id(value, "cls"));
      made.single = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0}};
      if (!roberta) {
        made.pair = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0}, {-1, 1, 1}, {sep, 0, 1}};
        return {};
      }
      made.pair = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0}, {sep, 0, 0}, {-1, 1, 0}, {sep, 0, 0}};
      made.pair_plain = {{-1, 0, 0}, {-1, 1, 0}};
      COLLEGIUM_ASSIGN_OR_RETURN(const bool trim, required_bool(value, "trim_offsets"));
      COLLEGIUM_ASSIGN_OR_RETURN(const bool prefix, required_bool(value, "add_prefix_space"));
      return trim ? set_trim(value, prefix) : Status();
    }
    if (type == "ByteLevel") {
      COLLEGIUM_RETURN_IF_ERROR(
          only_fields(value, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
      COLLEGIUM_ASSIGN_OR_RETURN(const bool trim, required_bool(value, "trim_offsets"));
      COLLEGIUM_ASSIGN_OR_RETURN(const bool prefix, required_bool(value, "add_prefix_space"));
      return trim ? set_trim(value, prefix) : Status();
    }
    if (type == "Sequence") {
      if (depth == kMaxDepth)
        return Status::not_supported(value.where() + ": is nested more than " +
                                     std::to_string(kMaxDepth) + " deep");
      COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "processors"}));
      COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, required(value, "processors"));
      COLLEGIUM_ASSIGN_OR_RETURN(const auto processors, list.as_array(kMaxItems));
      for (const JsonValue& processor : processors)
        COLLEGIUM_RETURN_IF_ERROR(read(processor, depth + 1));
      return {};
    }
    return kind_not_run(value, "post-processor", type);
  }
};

}  // namespace

Result<PostProcessor> PostProcessor::read(const JsonValue& value) {
  Reader reader;
  if (!value.is_null()) COLLEGIUM_RETURN_IF_ERROR(reader.read(value, 0));
  return std::move(reader.made);
}

std::vector<std::int32_t> PostProcessor::special_ids() const {
  std::vector<std::int32_t> ids;
  for (const Items* items : {&single, &pair})
    for (const Item& item : *items)
      if (item.id >= 0) ids.push_back(item.id);
  return ids;
}

Result<Encoding> PostProcessor::apply(const Encoding& first, const Encoding* second,
                                      const EncodeOptions& options) const {
  const Items& items = second == nullptr ? (options.add_special_tokens ? single : single_plain)
                                         : (options.add_special_tokens ? pair : pair_plain);
  const std::size_t added = items.size() - (second == nullptr ? 1 : 2);
  COLLEGIUM_RETURN_IF_ERROR(check_room(options, added));
  const std::size_t room = options.max_tokens == 0 ? std::numeric_limits<std::size_t>::max()
                                                   : options.max_tokens - added;
  const std::array<const Encoding*, 2> texts = {&first, second};
  std::array<std::size_t, 2> kept = {std::min(first.ids.size(), room), 0};
  if (second != nullptr) kept = pair_lengths(first.ids.size(), second->ids.size(), room);

  Encoding out;
  out.truncated = kept[0] < first.ids.size() || (second != nullptr && kept[1] < second->ids.size());
  const std::size_t total = kept[0] + kept[1] + added;
  out.ids.reserve(total);
  out.offsets.reserve(total);
  const bool typed = second != nullptr ||
                     std::ranges::any_of(items, [](const Item& item) { return item.type_id != 0; });
  if (typed) out.type_ids.reserve(total);
  for (const Item& item : items) {
    std::size_t count = 1;
    if (item.id >= 0) {
      out.ids.push_back(item.id);
      out.offsets.push_back({0, 0});
    } else {
      const auto text = static_cast<std::size_t>(item.text);
      count = kept[text];
      const auto end = static_cast<std::ptrdiff_t>(count);
      out.ids.insert(out.ids.end(), texts[text]->ids.begin(), texts[text]->ids.begin() + end);
      out.offsets.insert(out.offsets.end(), texts[text]->offsets.begin(),
                         texts[text]->offsets.begin() + end);
    }
    if (typed) out.type_ids.insert(out.type_ids.end(), count, item.type_id);
  }
  return out;
}

}  // namespace collegium::core
