// Lexical search for scripts that compare it with others: JSON commands, one a line, on standard
// input, one answer a line on standard output.
//   {"op": "open", "path", "settings": {...}}    creates or opens a corpus of one collection
//   {"op": "add", "documents": [[id, title, text], ...]}    each one passage, in one commit
//   {"op": "remove", "ids": [...]}
//   {"op": "terms", "texts": [...]}              the words of each
//   {"op": "search", "queries", "k", "syntax", "explain"}   hits [[id, score], ...] of each query,
//                                                and the seconds that all of them took
#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "collegium/index/corpus.h"

namespace {

using nlohmann::json;
using namespace collegium;
using namespace collegium::index;

struct Driver {
  std::unique_ptr<Corpus> corpus;
  LexicalSettings settings;

  json fail(const Status& status) { return {{"error", status.to_string()}}; }

  json open(const json& command) {
    const json given = command.value("settings", json::object());
    settings.k1 = given.value("k1", settings.k1);
    settings.b = given.value("b", settings.b);
    settings.stemmer = given.value("stemmer", settings.stemmer);
    settings.fold_accents = given.value("fold_accents", settings.fold_accents);
    settings.split_names = given.value("split_names", settings.split_names);
    if (given.value("english_stop_words", false))
      settings.stop_words = LexicalSettings::english_stop_words();
    const std::string path = command.at("path");
    auto opened = Corpus::open(path);
    if (!opened.ok() && opened.status().code() == StatusCode::kNotFound) {
      opened = Corpus::create(path, {.dim = 1, .encoder_digest = "none"});
      if (opened.ok()) {
        WriteSet writes;
        writes.create_collection("c");
        writes.set_lexical("c", settings);
        const auto committed = (*opened)->commit(std::move(writes));
        if (!committed.ok()) return fail(committed.status());
      }
    }
    if (!opened.ok()) return fail(opened.status());
    corpus = std::move(*opened);
    return {{"ok", true}};
  }

  json commit(WriteSet writes) {
    const auto committed = corpus->commit(std::move(writes));
    return committed.ok() ? json{{"commit_seq", *committed}} : fail(committed.status());
  }

  json add(const json& command) {
    WriteSet writes;
    for (const json& given : command.at("documents")) {
      NewDocument document;
      document.document = {given[0], given[1], given[2], ""};
      document.passages = {{{0, document.document.text.size()}, ""}};
      document.vectors = {1.0f};
      writes.put_document("c", std::move(document));
    }
    return commit(std::move(writes));
  }

  json remove(const json& command) {
    WriteSet writes;
    for (const json& id : command.at("ids")) writes.remove_document("c", id);
    return commit(std::move(writes));
  }

  json terms(const json& command) {
    json all = json::array();
    for (const json& text : command.at("texts")) {
      const auto tokens = lexical_tokens(text.get<std::string>(), settings);
      if (!tokens.ok()) return fail(tokens.status());
      json words = json::array();
      for (const LexicalToken& token : *tokens) words.push_back(token.term);
      all.push_back(std::move(words));
    }
    return all;
  }

  json search(const json& command) {
    const std::size_t k = command.at("k");
    const bool syntax = command.value("syntax", false);
    std::vector<std::string> queries = command.at("queries");
    std::vector<std::vector<Hit>> found;
    const auto begin = std::chrono::steady_clock::now();
    for (const std::string& text : queries) {
      LexicalQuery query = syntax ? LexicalQuery::parse(text) : LexicalQuery::words(text);
      query.explain = command.value("explain", false);
      auto hits = corpus->search_lexical("c", query, k);
      if (!hits.ok()) return fail(hits.status());
      found.push_back(std::move(*hits));
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    json answer = {{"seconds", took.count()}, {"hits", json::array()}};
    for (const auto& hits : found) {
      json one = json::array();
      for (const Hit& hit : hits) one.push_back({hit.document_id, hit.score});
      answer["hits"].push_back(std::move(one));
    }
    return answer;
  }
};

}  // namespace

int main() {
  Driver driver;
  for (std::string line; std::getline(std::cin, line);) {
    const json command = json::parse(line);
    const std::string op = command.at("op");
    json answer;
    if (op == "open") answer = driver.open(command);
    if (op == "add") answer = driver.add(command);
    if (op == "remove") answer = driver.remove(command);
    if (op == "terms") answer = driver.terms(command);
    if (op == "search") answer = driver.search(command);
    std::cout << answer.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
  }
  return 0;
}
