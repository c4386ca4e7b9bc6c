#include "collegium/router/library.h"

#include <cstdio>
#include <filesystem>

#include "collegium/core/isa.h"
#include "collegium/core/text/tokenizer.h"
#include "collegium/core/version.h"
#include "engine/library_impl.h"
#include "engine/model_files.h"
#include "engine/new_folder.h"

namespace collegium::router {
namespace {

namespace fs = std::filesystem;

Result<ModelReference> place_encoder(const CreateOptions& options, const core::Encoder& encoder,
                                     const std::string& folder) {
  ModelReference reference{encoder.digest(), kEncoderFolder, options.link};
  if (options.link) {
    std::error_code error;
    reference.path = fs::absolute(options.encoder, error).lexically_normal().string();
    if (error) return Status::from_errno(error.value(), options.encoder);
    COLLEGIUM_RETURN_IF_ERROR(
        core::check_utf8(reference.path, "linked encoder " + reference.path + ": its path"));
    return reference;
  }
  COLLEGIUM_RETURN_IF_ERROR(
      copy_files(encoder.folder(), encoder.files(), (fs::path(folder) / kEncoderFolder).string())
          .with_context("copying the encoder"));
  return reference;
}

Result<ModelReference> place_language_model(const CreateOptions& options,
                                            const std::string& folder) {
  ModelReference reference;
  if (options.language_model.empty()) return reference;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto model, core::LanguageModel::load(options.language_model));
  reference.digest = model->digest();
  reference.linked = options.link;
  std::error_code error;
  const fs::path source = fs::absolute(options.language_model, error).lexically_normal();
  if (error) return Status::from_errno(error.value(), options.language_model);
  const std::string name = source.filename().string();
  reference.path =
      options.link ? source.string() : (fs::path(kLanguageModelFolder) / name).string();
  COLLEGIUM_RETURN_IF_ERROR(
      core::check_utf8(reference.path, "language model " + reference.path + ": its path"));
  if (options.link) return reference;
  COLLEGIUM_RETURN_IF_ERROR(copy_files(source.parent_path().string(), {name},
                                       (fs::path(folder) / kLanguageModelFolder).string())
                                .with_context("copying the language model"));
  return reference;
}

}  // namespace

Result<std::shared_ptr<Library>> Library::create(const std::string& given,
                                                 const CreateOptions& options) {
  const std::string path = folder_path(given);
  COLLEGIUM_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::make(path));
  if (options.encoder.empty())
    return Status::invalid_argument("CreateOptions::encoder is empty: a library needs an encoder");
  core::EncoderOptions encoder_options;
  encoder_options.compute = options.compute;
  encoder_options.truncate_dim = options.truncate_dim;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto encoder,
                             core::Encoder::load(options.encoder, encoder_options));

  const std::string& making = folder.path();
  {
    index::CorpusOptions corpus_options;
    corpus_options.dim = encoder->dim();
    corpus_options.encoder_digest = encoder->digest();
    corpus_options.hnsw_threshold = options.hnsw_threshold;
    COLLEGIUM_ASSIGN_OR_RETURN(auto corpus, index::Corpus::create(making, corpus_options));
    LibrarySettings settings;
    settings.compute = options.compute;
    settings.truncate_dim = options.truncate_dim;
    COLLEGIUM_ASSIGN_OR_RETURN(settings.encoder, place_encoder(options, *encoder, making));
    COLLEGIUM_ASSIGN_OR_RETURN(settings.language_model, place_language_model(options, making));
    index::WriteSet writes;
    writes.put_record(std::string(kLibraryKey), settings.to_json());
    COLLEGIUM_RETURN_IF_ERROR(corpus->commit(std::move(writes)));
    COLLEGIUM_RETURN_IF_ERROR(corpus->close());
  }
  COLLEGIUM_RETURN_IF_ERROR(folder.publish());
  return open(path);
}

Result<std::shared_ptr<Library>> Library::open(const std::string& path,
                                               const OpenOptions& options) {
  return LibraryImpl::open_library(folder_path(path), options);
}

Result<std::shared_ptr<Library>> LibraryImpl::open_library(const std::string& path,
                                                           const OpenOptions& options) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found)
    return Status::not_found("no library at '" + path + "': there is no such folder");
  if (error) return Status::from_errno(error.value(), path);
  if (status.type() != fs::file_type::directory)
    return Status::invalid_argument(path + " is a file; a library is a folder");

  std::shared_ptr<LibraryImpl> library(new LibraryImpl());
  library->path_ = path;
  library->options_ = options;
  auto corpus = options.read_only ? index::Corpus::open_read_only(path) : index::Corpus::open(path);
  if (!corpus.ok()) {
    if (corpus.status().code() == StatusCode::kNotFound)
      return Status::not_found(path + " is not a library: " + corpus.status().message());
    return corpus.status();
  }
  library->corpus_ = std::move(*corpus);
  const auto settings = library->corpus_->record(kLibraryKey);
  if (!settings.ok()) {
    if (settings.status().code() != StatusCode::kNotFound) return settings.status();
    return Status::corruption(path + " holds a corpus without the settings of a library");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(library->settings_, LibrarySettings::parse(*settings));

  const LibrarySettings& models = library->settings_;
  COLLEGIUM_ASSIGN_OR_RETURN(library->encoder_, load_encoder(path, models, options.encoder));
  library->encoder_folder_ = library->encoder_->folder();
  const index::CorpusOptions& stored = library->corpus_->options();
  if (stored.dim != library->encoder_->dim() ||
      stored.encoder_digest != library->encoder_->digest())
    return Status::corruption(
        path + ": the store's vectors have dimension " + std::to_string(stored.dim) +
        " and encoder " + stored.encoder_digest + ", the library's encoder has " +
        std::to_string(library->encoder_->dim()) + " and " + library->encoder_->digest());
  COLLEGIUM_ASSIGN_OR_RETURN(
      library->language_model_,
      load_language_model(path, models.language_model, options.language_model, options.lm_compute));
  if (library->language_model_)
    library->language_model_path_ = model_path(path, models.language_model, options.language_model);

  COLLEGIUM_RETURN_IF_ERROR(library->read_generation());
  return std::shared_ptr<Library>(std::move(library));
}

namespace {

Status refuse_within_callback(std::string_view what) {
  return Status::failed_precondition(
      std::string(what) +
      " was called from inside a callback of this library, and would wait for the call that waits "
      "for it; call it after that call");
}

}  // namespace

LibraryImpl::Call::Call(const LibraryImpl& library)
    : library_(library), outer_(innermost_), nested_(inside(library)) {
  if (!nested_) lock_ = std::shared_lock(library.lifetime_);
  innermost_ = this;
}

LibraryImpl::Call::~Call() { innermost_ = outer_; }

bool LibraryImpl::Call::inside(const LibraryImpl& library) {
  for (const Call* call = innermost_; call != nullptr; call = call->outer_)
    if (&call->library_ == &library) return true;
  return false;
}

Status LibraryImpl::Call::check_reader() const { return library_.check_open(); }

Status LibraryImpl::Call::check_outermost(std::string_view what) const {
  if (nested_) return refuse_within_callback(what);
  return library_.check_open();
}

Status LibraryImpl::Call::check_writer(std::string_view what) const {
  COLLEGIUM_RETURN_IF_ERROR(check_outermost(what));
  if (library_.options_.read_only)
    return Status::failed_precondition(std::string(what) + ": the library at " + library_.path_ +
                                       " is open for reading only");
  return {};
}

LibraryImpl::~LibraryImpl() { (void)close(); }

Status LibraryImpl::check_open() const {
  if (closed_) return Status::failed_precondition("the library at " + path_ + " is closed");
  return {};
}

std::shared_ptr<const Generation> LibraryImpl::generation() const {
  const std::lock_guard lock(generation_mutex_);
  return generation_;
}

void LibraryImpl::set_generation(std::shared_ptr<const Generation> generation) {
  const std::lock_guard lock(generation_mutex_);
  generation_ = std::move(generation);
}

Status LibraryImpl::close() {
  if (Call::inside(*this)) return refuse_within_callback("close");
  // From here on new calls are refused, so that those under way come to an end.
  closed_ = true;
  const std::unique_lock lock(lifetime_);
  return corpus_ ? corpus_->close() : Status();
}

Result<Document> LibraryImpl::document(std::string_view collection, std::string_view id) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  return corpus_->document(collection, id);
}

Result<std::vector<std::string>> LibraryImpl::document_ids(std::string_view collection) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  COLLEGIUM_ASSIGN_OR_RETURN(const auto view, corpus_->view(collection));
  std::vector<std::string> ids;
  ids.reserve(view->num_documents());
  for (std::size_t i = 0; i < view->num_documents(); ++i) ids.emplace_back(view->document_id(i));
  return ids;
}

Result<LibraryInfo> LibraryImpl::info() const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  const auto current = generation();
  LibraryInfo info;
  info.path = path_;
  info.version = std::string(core::version());
  info.isa = std::string(core::isa_name(core::active_isa()));
  info.format_version = corpus_->format_version();
  info.commit_seq = corpus_->commit_seq();
  info.encoder_folder = encoder_folder_;
  info.encoder_digest = encoder_->digest();
  info.dim = encoder_->dim();
  info.max_tokens = encoder_->max_tokens();
  info.compute = std::string(core::compute_name(encoder_->compute()));
  info.truncate_dim = settings_.truncate_dim;
  info.language_model = language_model_path_;
  info.generation = current->digest;
  info.router = current->learned.router ? std::string(current->learned.router->kind()) : "none";
  info.gate_note =
      current->digest.empty() ? "not fitted yet: always retrieves" : current->learned.gate.note();
  info.policy = current->learned.policy;
  for (const std::string& name : corpus_->collections()) {
    LibraryInfo::Collection collection;
    COLLEGIUM_ASSIGN_OR_RETURN(collection.index, corpus_->collection_info(name));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto pairs, corpus_->records(pair_prefix(name)));
    for (const auto& [key, value] : pairs) {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto pair, StoredPair::parse(value, encoder_->dim()));
      ++collection.pairs[static_cast<std::size_t>(pair.split)];
    }
    const auto made_with = corpus_->record(made_with_key(name));
    if (made_with.ok()) {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto made, VectorOrigins::parse(*made_with));
      collection.vectors_made.assign(made.origins.begin(), made.origins.end());
    } else if (made_with.status().code() != StatusCode::kNotFound) {
      return made_with.status();
    }
    collection.expert = "none";
    if (const auto digest = current->adapter_digest.find(name);
        digest != current->adapter_digest.end()) {
      char strength[32];
      std::snprintf(strength, sizeof strength, "%.2f",
                    static_cast<double>(current->learned.adapters.at(name).strength));
      collection.expert = "strength " + std::string(strength) + ", " + digest->second;
    }
    info.collections.push_back(std::move(collection));
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const auto negatives, corpus_->records(kNegativePrefix));
  info.negatives = negatives.size();
  return info;
}

}  // namespace collegium::router
