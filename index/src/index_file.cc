#include "index_file.h"

#include "collegium/core/bytes.h"
#include "collegium/core/file_envelope.h"

namespace collegium::index {
namespace {

// Payload, little-endian: string corpus id, u32 collection, u64 dim, string encoder digest, u64
// commit_seq, state (collection_state.cc).
// Version history: 2 adds the documents' metadata to a segment. Version 1 would be taken for an
// index of documents that have none, so it is not read but made anew from the store. 3 has graphs
// of our own build, lists, and what was measured of them; older ones are made anew.
constexpr core::FileKind kKind{"index", 3};

}  // namespace

Status write_index_file(const std::string& path, const IndexIdentity& identity,
                        const CollectionState& state) {
  core::ByteWriter out;
  out.write_string(identity.corpus_id);
  out.write(identity.collection);
  out.write<std::uint64_t>(identity.dim);
  out.write_string(identity.encoder_digest);
  out.write(state.commit_seq);
  state.write(out);
  return core::write_file_envelope(path, kKind, out.bytes());
}

Result<std::shared_ptr<const CollectionState>> read_index_file(const std::string& path,
                                                               const IndexIdentity& identity) {
  COLLEGIUM_ASSIGN_OR_RETURN(const core::FileEnvelope file, core::read_file_envelope(path, kKind));
  if (file.version != kKind.version)
    return Status::failed_precondition(path + ": has version " + std::to_string(file.version) +
                                       ", this build reads " + std::to_string(kKind.version));
  core::ByteReader in(file.payload);
  IndexIdentity found;
  std::uint64_t dim = 0;
  std::uint64_t commit_seq = 0;
  if (!in.read_string(found.corpus_id) || !in.read(found.collection) || !in.read(dim) ||
      !in.read_string(found.encoder_digest) || !in.read(commit_seq))
    return Status::corruption(path + ": shorter than it says");
  if (found.corpus_id != identity.corpus_id || found.collection != identity.collection ||
      dim != identity.dim || found.encoder_digest != identity.encoder_digest)
    return Status::failed_precondition(
        path + ": belongs to corpus " + found.corpus_id + ", collection " +
        std::to_string(found.collection) + ", dim " + std::to_string(dim) + ", encoder '" +
        found.encoder_digest + "', not to corpus " + identity.corpus_id + ", collection " +
        std::to_string(identity.collection) + ", dim " + std::to_string(identity.dim) +
        ", encoder '" + identity.encoder_digest + "'");
  auto read = CollectionState::read(in, identity.dim);
  if (!read.ok()) return read.status().with_context(path);
  if (in.remaining() != 0) return Status::corruption(path + ": bytes after its end");
  auto state = std::make_shared<CollectionState>(**read);
  state->commit_seq = commit_seq;
  return std::shared_ptr<const CollectionState>(std::move(state));
}

}  // namespace collegium::index
