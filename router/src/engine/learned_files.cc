#include "engine/learned_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "collegium/core/bytes.h"
#include "collegium/core/file_envelope.h"
#include "engine/model_files.h"
#include "engine/records.h"

namespace collegium::router {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::uint32_t kGenerationFormat = 1;

std::string learned_folder(const std::string& library_path) {
  return (fs::path(library_path) / "learned").string();
}

Status file_error(const std::string& path, const Status& status) {
  if (status.code() == StatusCode::kNotFound)
    return Status::corruption(path + " is missing: the library's learned generation needs it");
  return status;  // names the file itself
}

ordered_json gain_to_json(const core::NdcgGain& gain) {
  return {{"queries", gain.queries}, {"plain", gain.plain}, {"adapted", gain.adapted}};
}

core::NdcgGain gain_from_json(const json& object) {
  return {object.at("queries").get<std::size_t>(), object.at("plain").get<double>(),
          object.at("adapted").get<double>()};
}

ordered_json adapter_to_json(const core::TrainedHeadAdapter& trained, const std::string& file) {
  return {{"file", file},
          {"strength", trained.strength},
          {"epochs", trained.epochs},
          {"dev_ndcg_plain", trained.dev_ndcg_plain},
          {"dev_ndcg", trained.dev_ndcg},
          {"loss", trained.loss},
          {"rank", trained.rank},
          {"pool", core::negative_pool_name(trained.pool)},
          {"curve", trained.curve},
          {"chosen_on", gain_to_json(trained.chosen_on)},
          {"standard_error", trained.standard_error},
          {"dev_paired", gain_to_json(trained.dev_paired)},
          {"dev_unpaired", gain_to_json(trained.dev_unpaired)}};
}

ordered_json policy_to_json(const PolicyParameters& policy) {
  ordered_json maps = ordered_json::object();
  for (const auto& [name, map] : policy.score_maps) maps[name] = {map.scale, map.shift};
  return {{"policy", std::string(policy_name(policy.policy))},
          {"research", policy.research},
          {"prior_weight", policy.prior_weight},
          {"routed_prior_weight", policy.routed_prior_weight},
          {"comparability", std::string(comparability_name(policy.comparability))},
          {"shift_depth", policy.shift_depth},
          {"score_maps", maps},
          {"min_margin", policy.min_margin},
          {"min_familiarity", policy.min_familiarity},
          {"abstain_to_mixture", policy.abstain_to_mixture},
          {"guessed", policy.guessed}};
}

Result<PolicyParameters> policy_from_json(const json& object) {
  PolicyParameters policy;
  COLLEGIUM_ASSIGN_OR_RETURN(policy.policy, parse_policy(object.at("policy").get<std::string>()));
  policy.research = object.at("research").get<std::size_t>();
  policy.prior_weight = object.at("prior_weight").get<double>();
  policy.routed_prior_weight = object.at("routed_prior_weight").get<double>();
  policy.shift_depth = object.at("shift_depth").get<std::size_t>();
  policy.min_margin = object.at("min_margin").get<double>();
  policy.min_familiarity = object.at("min_familiarity").get<double>();
  if (object.contains("comparability")) {  // absent before there was a choice
    COLLEGIUM_ASSIGN_OR_RETURN(policy.comparability,
                               parse_comparability(object.at("comparability").get<std::string>()));
    for (const auto& [name, map] : object.at("score_maps").items())
      policy.score_maps[name] = {map.at(0).get<double>(), map.at(1).get<double>()};
    policy.abstain_to_mixture = object.at("abstain_to_mixture").get<bool>();
  }
  if (object.contains("guessed"))  // absent before this was known
    for (const auto& name : object.at("guessed")) policy.guessed.insert(name.get<std::string>());
  return policy;
}

ordered_json fusion_to_json(const std::map<std::string, CollectionFusion>& fusion) {
  ordered_json object = ordered_json::object();
  for (const auto& [collection, chosen] : fusion)
    object[collection] = {{"rule", std::string(index::fusion_rule_name(chosen.options.rule))},
                          {"lexical_weight", chosen.options.lexical_weight},
                          {"dev_queries", chosen.dev_queries},
                          {"pooled", chosen.pooled},
                          {"dev_ndcg_dense", chosen.dev_ndcg_dense},
                          {"dev_ndcg", chosen.dev_ndcg}};
  return object;
}

Result<std::map<std::string, CollectionFusion>> fusion_from_json(const json& object) {
  std::map<std::string, CollectionFusion> fusion;
  for (const auto& [collection, entry] : object.items()) {
    CollectionFusion& chosen = fusion[collection];
    COLLEGIUM_ASSIGN_OR_RETURN(chosen.options.rule,
                               index::parse_fusion_rule(entry.at("rule").get<std::string>()));
    chosen.options.lexical_weight = entry.at("lexical_weight").get<double>();
    COLLEGIUM_RETURN_IF_ERROR(chosen.options.validate());
    chosen.dev_queries = entry.at("dev_queries").get<std::size_t>();
    chosen.pooled = entry.at("pooled").get<bool>();
    chosen.dev_ndcg_dense = entry.at("dev_ndcg_dense").get<double>();
    chosen.dev_ndcg = entry.at("dev_ndcg").get<double>();
  }
  return fusion;
}

// The file's name is the digest of what it holds, so a file that is there already is the same one
// unless it was damaged; then it is written anew.
Status write_adapter(const std::string& folder, const core::HeadAdapter& adapter,
                     std::string& name) {
  name = adapter.digest() + ".adapter";
  const std::string path = (fs::path(folder) / name).string();
  if (const auto there = core::HeadAdapter::load(path); there.ok()) return {};
  return adapter.save(path);
}

Status write_payload(const std::string& folder, const core::FileKind& kind,
                     const std::vector<std::byte>& payload, std::string& name) {
  name = core::digest_hex(payload) + "." + std::string(kind.name);
  const std::string path = (fs::path(folder) / name).string();
  if (const auto there = core::read_file_envelope(path, kind); there.ok()) return {};
  return core::write_file_envelope(path, kind, payload);
}

Result<std::vector<std::byte>> read_payload(const std::string& folder, const core::FileKind& kind,
                                            const std::string& name) {
  const std::string path = (fs::path(folder) / name).string();
  auto envelope = core::read_file_envelope(path, kind);
  if (!envelope.ok()) return file_error(path, envelope.status());
  if (core::digest_hex(envelope->payload) + "." + std::string(kind.name) != name)
    return Status::corruption(path + ": its content is not what its name says");
  return std::move(envelope->payload);
}

Result<core::TrainedHeadAdapter> trained_from_json(const json& object, std::size_t dim) {
  core::TrainedHeadAdapter trained{.adapter = core::HeadAdapter::identity(dim)};
  trained.strength = object.at("strength").get<float>();
  trained.epochs = object.at("epochs").get<std::size_t>();
  trained.dev_ndcg_plain = object.at("dev_ndcg_plain").get<double>();
  trained.dev_ndcg = object.at("dev_ndcg").get<double>();
  trained.loss = object.at("loss").get<std::vector<double>>();
  if (object.contains("rank")) {  // generations of before have none of these
    trained.rank = object.at("rank").get<std::size_t>();
    COLLEGIUM_ASSIGN_OR_RETURN(trained.pool,
                               core::parse_negative_pool(object.at("pool").get<std::string>()));
    trained.curve = object.at("curve").get<std::vector<double>>();
    trained.chosen_on = gain_from_json(object.at("chosen_on"));
    trained.standard_error = object.at("standard_error").get<double>();
    trained.dev_paired = gain_from_json(object.at("dev_paired"));
    trained.dev_unpaired = gain_from_json(object.at("dev_unpaired"));
  }
  return trained;
}

Result<core::TrainedHeadAdapter> read_adapter(const std::string& folder, const json& object,
                                              std::size_t dim) {
  COLLEGIUM_ASSIGN_OR_RETURN(auto trained, trained_from_json(object, dim));
  const std::string name = object.at("file").get<std::string>();
  if (name.empty()) return trained;
  const std::string path = (fs::path(folder) / name).string();
  auto adapter = core::HeadAdapter::load(path);
  if (!adapter.ok()) return file_error(path, adapter.status());
  if (adapter->digest() + ".adapter" != name || adapter->dim() != dim)
    return Status::corruption(path + ": its content is not what its name says");
  trained.adapter = std::move(*adapter);
  return trained;
}

// A name in the record becomes part of a path: nothing but the names we write is believed.
bool is_file_name(const std::string& name) {
  return name.empty() || std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '-';
         });
}

void collect_files(const json& value, std::set<std::string>& files) {
  if (value.is_object()) {
    if (const auto file = value.find("file"); file != value.end() && file->is_string())
      files.insert(file->get<std::string>());
    for (const auto& [key, child] : value.items()) collect_files(child, files);
  } else if (value.is_array()) {
    for (const auto& child : value) collect_files(child, files);
  }
}

}  // namespace

Result<std::string> write_learned_files(const std::string& library_path, Generation& generation) {
  const std::string folder = learned_folder(library_path);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Status::from_errno(error.value(), folder);
  const Learned& learned = generation.learned;

  ordered_json record{{"format", kGenerationFormat}};
  record["adapters"] = ordered_json::object();
  generation.adapter_digest.clear();
  for (const auto& [collection, trained] : learned.adapters) {
    std::string name;
    if (trained.strength > 0.0f) {
      COLLEGIUM_RETURN_IF_ERROR(write_adapter(folder, trained.adapter, name));
      generation.adapter_digest[collection] = trained.adapter.digest();
    }
    record["adapters"][collection] = adapter_to_json(trained, name);
    if (const auto data = generation.data_digest.find(collection);
        data != generation.data_digest.end())
      record["adapters"][collection]["data"] = data->second;
  }
  if (learned.multi_task) {
    std::string name;
    if (learned.multi_task->strength > 0.0f)
      COLLEGIUM_RETURN_IF_ERROR(write_adapter(folder, learned.multi_task->adapter, name));
    record["multi_task"] = adapter_to_json(*learned.multi_task, name);
  }

  record["routers"] = ordered_json::array();
  for (const auto& router : learned.routers) {
    std::string name;
    COLLEGIUM_RETURN_IF_ERROR(write_payload(folder, kRouterFileKind, router->serialize(), name));
    const auto accuracy = learned.router_dev_accuracy.find(std::string(router->kind()));
    ordered_json entry{{"kind", std::string(router->kind())}, {"file", name}};
    if (accuracy != learned.router_dev_accuracy.end()) entry["dev_accuracy"] = accuracy->second;
    const auto ndcg = learned.router_dev_ndcg.find(std::string(router->kind()));
    if (ndcg != learned.router_dev_ndcg.end()) entry["dev_ndcg"] = ndcg->second;
    record["routers"].push_back(std::move(entry));
  }
  record["router"] = learned.router ? std::string(learned.router->kind()) : "";
  record["policy"] = policy_to_json(learned.policy);
  record["fusion"] = fusion_to_json(learned.fusion);
  if (learned.ranker || learned.fusion_dev_ndcg > 0.0) {
    std::string name;
    if (learned.ranker)
      COLLEGIUM_RETURN_IF_ERROR(
          write_payload(folder, kRankerFileKind, learned.ranker->serialize(), name));
    record["ranker"] = {{"file", name},
                        {"dev_ndcg", learned.ranker_dev_ndcg},
                        {"dev_ndcg_fusion", learned.fusion_dev_ndcg}};
  }
  std::string gate;
  COLLEGIUM_RETURN_IF_ERROR(write_payload(folder, kGateFileKind, learned.gate.serialize(), gate));
  record["gate"] = {{"file", gate}};
  COLLEGIUM_RETURN_IF_ERROR(sync_folder(folder));
  COLLEGIUM_RETURN_IF_ERROR(sync_folder(library_path));

  std::set<std::string> files;
  collect_files(json(record), files);
  files.erase("");
  generation.files.assign(files.begin(), files.end());
  const std::string content = record.dump();
  generation.digest = text_digest(content);
  record["digest"] = generation.digest;
  return record.dump();
}

Result<Generation> read_learned_files(const std::string& library_path, const std::string& text,
                                      std::size_t dim) {
  const std::string folder = learned_folder(library_path);
  try {
    auto record = ordered_json::parse(text);
    const auto format = record.at("format").get<std::uint32_t>();
    if (format > kGenerationFormat)
      return Status::not_supported("the learned generation has format " + std::to_string(format) +
                                   ", this build reads up to " + std::to_string(kGenerationFormat));
    const std::string digest = record.at("digest").get<std::string>();
    record.erase("digest");
    if (text_digest(record.dump()) != digest)
      return Status::corruption("the generation record does not have the digest it states");
    const json object = json(record);
    std::set<std::string> files;
    collect_files(object, files);
    files.erase("");
    for (const std::string& file : files) {
      if (!is_file_name(file))
        return Status::corruption("the generation record names a file '" + file + "'");
    }

    Generation generation;
    generation.digest = digest;
    generation.files.assign(files.begin(), files.end());
    Learned& learned = generation.learned;
    for (const auto& [collection, entry] : object.at("adapters").items()) {
      COLLEGIUM_ASSIGN_OR_RETURN(auto trained, read_adapter(folder, entry, dim));
      if (trained.strength > 0.0f) generation.adapter_digest[collection] = trained.adapter.digest();
      learned.adapters.emplace(collection, std::move(trained));
      if (entry.contains("data"))
        generation.data_digest[collection] = entry.at("data").get<std::string>();
    }
    if (object.contains("multi_task")) {
      COLLEGIUM_ASSIGN_OR_RETURN(learned.multi_task,
                                 read_adapter(folder, object.at("multi_task"), dim));
    }
    const std::string chosen = object.at("router").get<std::string>();
    for (const auto& entry : object.at("routers")) {
      const std::string kind = entry.at("kind").get<std::string>();
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto payload,
          read_payload(folder, kRouterFileKind, entry.at("file").get<std::string>()));
      auto router = deserialize_router(payload);
      if (!router.ok())
        return router.status().with_context(
            (fs::path(folder) / entry.at("file").get<std::string>()).string());
      if ((*router)->dim() != dim || (*router)->kind() != kind)
        return Status::corruption("router '" + kind + "' in " + folder +
                                  " is not the one recorded");
      if (entry.contains("dev_accuracy"))
        learned.router_dev_accuracy[kind] = entry.at("dev_accuracy").get<double>();
      if (entry.contains("dev_ndcg"))
        learned.router_dev_ndcg[kind] = entry.at("dev_ndcg").get<double>();
      if (kind == chosen) learned.router = *router;
      learned.routers.push_back(std::move(*router));
    }
    if (!chosen.empty() && !learned.router)
      return Status::corruption("the generation record chooses router '" + chosen +
                                "' and does not list it");
    COLLEGIUM_ASSIGN_OR_RETURN(learned.policy, policy_from_json(object.at("policy")));
    if (object.contains("fusion")) {
      COLLEGIUM_ASSIGN_OR_RETURN(learned.fusion, fusion_from_json(object.at("fusion")));
    }
    if (object.contains("ranker")) {
      const json& entry = object.at("ranker");
      learned.ranker_dev_ndcg = entry.at("dev_ndcg").get<double>();
      learned.fusion_dev_ndcg = entry.at("dev_ndcg_fusion").get<double>();
      if (const auto name = entry.at("file").get<std::string>(); !name.empty()) {
        COLLEGIUM_ASSIGN_OR_RETURN(const auto payload, read_payload(folder, kRankerFileKind, name));
        COLLEGIUM_ASSIGN_OR_RETURN(learned.ranker, Ranker::deserialize(payload));
      }
    }
    const std::string gate_file = object.at("gate").at("file").get<std::string>();
    COLLEGIUM_ASSIGN_OR_RETURN(const auto gate, read_payload(folder, kGateFileKind, gate_file));
    COLLEGIUM_ASSIGN_OR_RETURN(learned.gate, Gate::deserialize(gate));
    return generation;
  } catch (const json::exception& error) {
    return Status::corruption(std::string("the generation record is malformed: ") + error.what());
  }
}

Status copy_learned_files(const std::string& library_path, const Generation& generation,
                          const std::string& to) {
  if (generation.files.empty()) return {};
  return copy_files(learned_folder(library_path), generation.files, learned_folder(to));
}

// u32 length of the JSON, the JSON, the adapter's payload
std::string FinishedTraining::serialize() const {
  ordered_json object = adapter_to_json(trained, "");
  object["data"] = data_digest;
  const std::string text = object.dump();
  const std::vector<std::byte> payload = trained.adapter.serialize();
  core::ByteWriter out;
  out.write(static_cast<std::uint32_t>(text.size()));
  std::string bytes(reinterpret_cast<const char*>(out.bytes().data()), out.bytes().size());
  bytes += text;
  bytes.append(reinterpret_cast<const char*>(payload.data()), payload.size());
  return bytes;
}

Result<FinishedTraining> FinishedTraining::parse(std::string_view bytes, std::size_t dim) {
  core::ByteReader in(std::as_bytes(std::span(bytes.data(), bytes.size())));
  std::uint32_t size = 0;
  if (!in.read(size) || in.remaining() < size)
    return Status::corruption("a record of a finished training is cut short");
  try {
    const json object = json::parse(bytes.substr(sizeof size, size));
    COLLEGIUM_ASSIGN_OR_RETURN(auto trained, trained_from_json(object, dim));
    const std::string_view payload = bytes.substr(sizeof size + size);
    COLLEGIUM_ASSIGN_OR_RETURN(
        trained.adapter,
        core::HeadAdapter::deserialize(std::as_bytes(std::span(payload.data(), payload.size()))));
    if (trained.adapter.dim() != dim)
      return Status::corruption("a record of a finished training has another dim");
    return FinishedTraining{object.at("data").get<std::string>(), std::move(trained)};
  } catch (const json::exception& error) {
    return Status::corruption(std::string("a record of a finished training is malformed: ") +
                              error.what());
  }
}

void remove_leftovers(const std::string& library_path, const std::vector<std::string>& keep) {
  std::error_code error;
  const std::set<std::string> kept(keep.begin(), keep.end());
  std::vector<fs::path> leftovers;
  for (fs::directory_iterator it(learned_folder(library_path), error), end; !error && it != end;
       it.increment(error)) {
    if (!kept.contains(it->path().filename().string())) leftovers.push_back(it->path());
  }
  for (const fs::path& path : leftovers) fs::remove(path, error);
}

}  // namespace collegium::router
