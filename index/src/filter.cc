#include "collegium/index/filter.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "collegium/core/text/tokenizer.h"
#include "filter_program.h"

namespace collegium::index {
namespace {

using Json = nlohmann::json;
using Kind = FilterNode::Kind;

Status wrong(const std::string& place, const std::string& what) {
  return Status::invalid_argument("filter" + (place.empty() ? "" : " at " + place) + ": " + what);
}

// A long text is cut between two characters.
std::string in_quotes(std::string_view text) {
  std::size_t end = std::min<std::size_t>(text.size(), 80);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;
  return "'" + std::string(text.substr(0, end)) + (end < text.size() ? "...'" : "'");
}

std::string shown(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (value.is_string()) return "the string " + in_quotes(value.get_ref<const std::string&>());
  return value.dump();
}

std::string joined(const std::string& place, const std::string& key) {
  // A key may be long; the place is read by people.
  const std::string name = key.size() <= 80 ? key : in_quotes(key);
  return place.empty() ? name : place + "." + name;
}

bool is_scalar(const Json& value) { return !value.is_object() && !value.is_array(); }

Result<Json> parse_json(std::string_view text) {
  if (text.size() > Filter::kMaxBytes)
    return wrong("", "has " + std::to_string(text.size()) + " bytes, at most " +
                         std::to_string(Filter::kMaxBytes) + " are read");
  COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(text, "filter"));
  if (const std::size_t depth = nesting(text); depth > Filter::kMaxDepth)
    return wrong("", "is nested " + std::to_string(depth) + " deep, allowed are " +
                         std::to_string(Filter::kMaxDepth));
  std::vector<std::set<std::string>> open;  // the keys so far of the objects around this place
  std::string twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && twice.empty()) {
      auto& key = parsed.get_ref<const std::string&>();
      if (!open.back().insert(key).second) twice = in_quotes(key);
    }
    return true;
  };
  try {
    Json parsed = Json::parse(text, watch);
    if (!twice.empty()) return wrong("", "key " + twice + " comes twice in one object");
    return parsed;
  } catch (const Json::parse_error& error) {
    return wrong("", "is not JSON, at byte " + std::to_string(error.byte));
  } catch (const Json::exception&) {
    return wrong("", "is not JSON: a number is out of range");
  }
}

class FilterParser {
 public:
  explicit FilterParser(FilterProgram& program) : program_(program) {}

  // All fields and operators of `object`. Nested as deep as the text, which is bounded.
  Result<FilterNode> parse_filter(const Json& object, const std::string& place) {
    if (!object.is_object()) return wrong(place, "is " + shown(object) + ", must be an object");
    COLLEGIUM_RETURN_IF_ERROR(count_node(place));
    FilterNode all;
    for (const auto& [key, value] : object.items()) {
      const std::string here = joined(place, key);
      FilterNode part;
      if (key == "$and" || key == "$or") {
        COLLEGIUM_ASSIGN_OR_RETURN(part, parse_list(value, here));
        part.kind = key == "$and" ? Kind::kAll : Kind::kAny;
      } else if (key == "$not") {
        COLLEGIUM_ASSIGN_OR_RETURN(part, parse_filter(value, here));
        part = negated(std::move(part));
      } else if (key.starts_with('$')) {
        return wrong(here, "is no operator here, allowed are $and, $or, $not and names of fields");
      } else {
        COLLEGIUM_ASSIGN_OR_RETURN(part, parse_field(key, value, here));
      }
      all.children.push_back(std::move(part));
    }
    return all;
  }

 private:
  // Every object, list and test: an empty one takes its time too, for every document.
  Status count_node(const std::string& place) {
    if (++num_nodes_ <= Filter::kMaxNodes) return {};
    return wrong(place, "is object, list or test " + std::to_string(num_nodes_) + ", allowed are " +
                            std::to_string(Filter::kMaxNodes));
  }

  static FilterNode negated(FilterNode node) {
    FilterNode made;
    made.kind = Kind::kNot;
    made.children.push_back(std::move(node));
    return made;
  }

  Result<FilterNode> parse_list(const Json& list, const std::string& place) {
    if (!list.is_array() || list.empty())
      return wrong(place, "is " + (list.is_array() ? "empty" : shown(list)) +
                              ", must be a list of at least one filter");
    COLLEGIUM_RETURN_IF_ERROR(count_node(place));
    FilterNode made;
    for (std::size_t i = 0; i < list.size(); ++i) {
      COLLEGIUM_ASSIGN_OR_RETURN(auto part,
                                 parse_filter(list[i], place + "[" + std::to_string(i) + "]"));
      made.children.push_back(std::move(part));
    }
    return made;
  }

  Result<FilterNode> parse_field(const std::string& name, const Json& value,
                                 const std::string& place) {
    if (name.empty() || name.size() > Filter::kMaxFieldBytes)
      return wrong(place, "a field's name has " + std::to_string(name.size()) +
                              " bytes, allowed are 1 to " + std::to_string(Filter::kMaxFieldBytes));
    const auto [at, added] = numbers_.emplace(name, program_.fields.size());
    if (added) program_.fields.push_back(name);
    if (value.is_object()) return parse_operators(at->second, value, place);
    if (value.is_array())
      return wrong(place,
                   "is an array, must be a value or an object of operators; "
                   "{\"$in\": [...]} is one of several");
    return parse_test(at->second, "$eq", value, place);
  }

  Result<FilterNode> parse_operators(std::size_t field, const Json& object,
                                     const std::string& place) {
    if (!object.is_object() || object.empty())
      return wrong(place, "is " + (object.is_object() ? "an empty object" : shown(object)) +
                              ", must be an object of operators");
    COLLEGIUM_RETURN_IF_ERROR(count_node(place));
    FilterNode all;
    for (const auto& [key, operand] : object.items()) {
      const std::string here = joined(place, key);
      FilterNode part;
      if (key == "$not") {
        COLLEGIUM_ASSIGN_OR_RETURN(part, parse_operators(field, operand, here));
        part = negated(std::move(part));
      } else {
        COLLEGIUM_ASSIGN_OR_RETURN(part, parse_test(field, key, operand, here));
      }
      all.children.push_back(std::move(part));
    }
    return all;
  }

  Result<FilterNode> parse_test(std::size_t field, const std::string& name, const Json& operand,
                                const std::string& place) {
    struct Operator {
      const char* name;
      Kind kind;
      bool negated;
    };
    static constexpr Operator kOperators[] = {
        {"$eq", Kind::kIn, false},         {"$ne", Kind::kIn, true},
        {"$in", Kind::kIn, false},         {"$nin", Kind::kIn, true},
        {"$lt", Kind::kLess, false},       {"$lte", Kind::kLessEqual, false},
        {"$gt", Kind::kGreater, false},    {"$gte", Kind::kGreaterEqual, false},
        {"$prefix", Kind::kPrefix, false}, {"$exists", Kind::kExists, false},
    };
    const auto found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                    [&](const Operator& one) { return name == one.name; });
    if (found == std::end(kOperators)) {
      if (!name.starts_with('$'))
        return wrong(place, "is no operator; a nested field is named with a dot, as in \"a.b\"");
      return wrong(place,
                   "is no operator, allowed are $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, "
                   "$prefix, $exists, $not");
    }
    COLLEGIUM_RETURN_IF_ERROR(count_node(place));
    if (++num_tests_ > Filter::kMaxTests)
      return wrong(place, "is test " + std::to_string(num_tests_) + ", allowed are " +
                              std::to_string(Filter::kMaxTests));
    const auto must_be = [&](const char* allowed) {
      return wrong(place, "is " + shown(operand) + ", must be " + allowed);
    };
    FilterNode test;
    test.kind = found->kind;
    test.field = field;
    bool negate = found->negated;
    if (name == "$in" || name == "$nin") {
      if (!operand.is_array()) return must_be("an array");
      for (std::size_t i = 0; i < operand.size(); ++i) {
        if (!is_scalar(operand[i]))
          return wrong(place + "[" + std::to_string(i) + "]",
                       "is " + shown(operand[i]) + ", must be a string, number, boolean or null");
        test.operands.push_back(to_field_value(operand[i], program_.texts));
      }
      std::sort(test.operands.begin(), test.operands.end(),
                [](const auto& a, const auto& b) { return compare(a, b) < 0; });
    } else if (test.kind == Kind::kExists) {
      if (!operand.is_boolean()) return must_be("true or false");
      negate = !operand.get<bool>();
    } else {
      if (test.kind == Kind::kPrefix && !operand.is_string()) return must_be("a string");
      if (test.kind == Kind::kIn && !is_scalar(operand))
        return must_be("a string, number, boolean or null");
      if (test.kind != Kind::kIn && !operand.is_string() && !operand.is_number())
        return must_be("a number or a string");
      test.operands.push_back(to_field_value(operand, program_.texts));
    }
    return negate ? negated(std::move(test)) : std::move(test);
  }

  FilterProgram& program_;
  std::map<std::string, std::size_t> numbers_;  // of the fields
  std::size_t num_tests_ = 0;
  std::size_t num_nodes_ = 0;
};

bool evaluate(const FilterNode& node, const std::vector<std::vector<FieldValue>>& fields) {
  const auto holds = [&](const FilterNode& child) { return evaluate(child, fields); };
  switch (node.kind) {
    case Kind::kAll:
      return std::all_of(node.children.begin(), node.children.end(), holds);
    case Kind::kAny:
      return std::any_of(node.children.begin(), node.children.end(), holds);
    case Kind::kNot:
      return !holds(node.children.front());
    default:
      return node.passes(fields[node.field]);
  }
}

bool evaluate(const FilterProgram& program, std::string_view metadata) {
  const Json object = parse_metadata(metadata);
  TextPool texts;
  std::vector<std::vector<FieldValue>> fields(program.fields.size());
  for (std::size_t i = 0; i < fields.size(); ++i)
    collect_field(object, program.fields[i], texts, fields[i]);
  return evaluate(program.root, fields);
}

}  // namespace

bool FilterNode::passes(std::span<const FieldValue> values) const noexcept {
  if (kind == Kind::kExists) return !values.empty();
  return std::any_of(values.begin(), values.end(), [this](const FieldValue& value) {
    if (kind == Kind::kIn) {
      const auto at =
          std::lower_bound(operands.begin(), operands.end(), value,
                           [](const auto& a, const auto& b) { return compare(a, b) < 0; });
      return at != operands.end() && compare(*at, value) == 0;
    }
    const FieldValue& operand = operands.front();
    if (!comparable(value, operand)) return false;
    const auto order = compare(value, operand);
    switch (kind) {
      case Kind::kLess:
        return order < 0;
      case Kind::kLessEqual:
        return order <= 0;
      case Kind::kGreater:
        return order > 0;
      case Kind::kGreaterEqual:
        return order >= 0;
      default:
        return value.text().starts_with(operand.text());
    }
  });
}

Filter::Filter(std::string text, std::unique_ptr<const FilterProgram> program)
    : text_(std::move(text)), program_(std::move(program)) {}
Filter::~Filter() = default;

Result<std::shared_ptr<const Filter>> Filter::parse(std::string_view json) {
  COLLEGIUM_ASSIGN_OR_RETURN(const Json parsed, parse_json(json));
  auto program = std::make_unique<FilterProgram>();
  COLLEGIUM_ASSIGN_OR_RETURN(program->root, FilterParser(*program).parse_filter(parsed, ""));
  program->accepts_empty = evaluate(*program, "");
  return std::shared_ptr<const Filter>(new Filter(parsed.dump(), std::move(program)));
}

bool Filter::accepts(std::string_view metadata) const {
  return metadata.empty() ? program_->accepts_empty : evaluate(*program_, metadata);
}

}  // namespace collegium::index
