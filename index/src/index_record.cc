#include "index_record.h"

#include <nlohmann/json.hpp>

namespace collegium::index {

std::string index_record_key(std::string_view collection) {
  return "index/" + std::string(collection);
}

std::string write_index_record(const IndexSettings& settings) {
  nlohmann::ordered_json json;
  json["kind"] = index_kind_name(settings.kind);
  json["links"] = settings.links;
  json["build_breadth"] = settings.build_breadth;
  json["lists"] = settings.lists;
  json["effort"] = settings.effort;
  json["target_recall"] = settings.target_recall;
  json["reason"] = settings.reason;
  return json.dump();
}

Result<IndexSettings> read_index_record(std::string_view text) {
  IndexSettings settings;
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    const auto kind = parse_index_kind(json.at("kind").get<std::string>());
    if (!kind.ok()) return Status::corruption("index settings: " + kind.status().message());
    settings.kind = *kind;
    const auto number = [&json](const char* name) {
      const nlohmann::json& value = json.at(name);
      return value.is_number_unsigned() && value.get<std::uint64_t>() <= 0xffffffff
                 ? value.get<std::uint32_t>()
                 : 0xffffffffu;  // out of every range
    };
    settings.links = number("links");
    settings.build_breadth = number("build_breadth");
    settings.lists = number("lists");
    settings.effort = number("effort");
    settings.target_recall = json.at("target_recall").get<double>();
    settings.reason = json.at("reason").get<std::string>();
  } catch (const nlohmann::json::exception& error) {
    return Status::corruption(std::string("index settings: ") + error.what());
  }
  if (const Status valid = settings.validate(); !valid.ok())
    return Status::corruption("index settings: " + valid.message());
  return settings;
}

}  // namespace collegium::index
