//! The reasons for refusing a `.pth` file.

use super::limits::NAME_LIMIT;

/// Why a PyTorch file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PthReason {
    /// The zip archive is damaged.
    #[error("a damaged zip archive ({0}); expected what torch.save writes")]
    Zip(&'static str),
    /// One entry of the archive is damaged or missing.
    #[error("zip entry '{name}': {problem}")]
    Entry {
        /// Name of the entry.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The archive was not written by `torch.save`.
    #[error("a zip archive that is {kind}; {way_out}")]
    OtherArchive {
        /// Description of the archive.
        kind: &'static str,
        /// How to get a readable file from the archive.
        way_out: &'static str,
    },
    /// The archive is a TorchScript program.
    #[error(
        "a TorchScript archive; expected a state_dict: in Python, torch.save(torch.jit.load(\"FILE\").state_dict(), \
         \"weights.pth\")"
    )]
    TorchScript,
    /// The numbers are big-endian.
    #[error("a checkpoint with big-endian numbers; expected little-endian ones")]
    BigEndian,
    /// The pickle in the archive cannot be read.
    #[error("data.pkl: {0}")]
    DataPickle(PickleReason),
    /// The file, of the format before PyTorch 1.6, is damaged.
    #[error("a damaged PyTorch file: {0}")]
    Legacy(#[from] PickleReason),
    /// The length of a storage differs from the length in the pickle.
    #[error("storage '{key}' has {found}; expected {expected}")]
    StorageLength {
        /// The storage's key.
        key: String,
        /// Length of the storage in the file.
        found: String,
        /// Length that the pickle states.
        expected: String,
    },
    /// The storage with this key is not in the file.
    #[error("its storage '{0}' is not in the file")]
    NoStorage(String),
    /// A view reaches past the end of its storage.
    #[error("the view ends at element {end}, its storage has {elements}")]
    View {
        /// One past the view's last element.
        end: usize,
        /// Number of elements in the storage.
        elements: usize,
    },
    /// The tensors together would be far larger than the file.
    #[error("tensors that unfold to far more than the file's size")]
    Unfolds,
    /// The description of a tensor is invalid.
    #[error("{0}")]
    Tensor(&'static str),
    /// The file has no dictionary of tensors.
    #[error("no dictionary of tensors; expected a state_dict, alone or under a key such as 'model'")]
    NoStateDict,
    /// The file has more dictionaries with a ResMLP's names than the reader compares.
    #[error("more than {0} dictionaries with a ResMLP's names; expected the weights of one network")]
    TooMany(usize),
    /// The file holds a pickled object, such as a whole network, in place of named tensors.
    #[error(
        "{}a pickled object of class '{class}'; expected tensors by name: save model.state_dict() instead",
        if place.is_empty() { String::new() } else { format!("'{place}' is ") }
    )]
    Object {
        /// Keys that lead to the object; empty if the object is the file's only value.
        place: String,
        /// Class of the object.
        class: String,
    },
}

/// Why a pickle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PickleReason {
    /// The reason, with its position in the file.
    #[error("{reason} (opcode 0x{opcode:02x} at byte {byte})")]
    At {
        /// What is wrong.
        reason: Box<PickleReason>,
        /// The opcode that was being read.
        opcode: u8,
        /// Offset of the opcode in bytes.
        byte: usize,
    },
    /// The pickle asks for more memory than its file justifies.
    #[error("a pickle that unfolds to more than its own length")]
    Unfolds,
    /// The pickle is cut off.
    #[error("the pickle ends too early")]
    Ends,
    /// The stack is empty.
    #[error("the pickle takes a value from an empty stack")]
    Empty,
    /// A mark is missing or misplaced.
    #[error("a mark is missing")]
    Mark,
    /// The opcode is unknown.
    #[error("a pickle opcode that no checkpoint needs")]
    Opcode,
    /// The protocol is unknown.
    #[error("pickle protocol {0}; expected at most 5")]
    Protocol(u8),
    /// A memo entry was never set.
    #[error("a memo entry that was never set")]
    Unset,
    /// A memo key is not a number.
    #[error("a memo key that is no number")]
    MemoKey,
    /// A name is too long; the field is its length in bytes.
    #[error("a name of {0} bytes; expected at most {NAME_LIMIT}")]
    LongName(usize),
    /// A persistent id is written as text.
    #[error("a persistent id as text; expected torch's tuple")]
    PersistentText,
    /// The pickle calls a function that can run programs or code, which no checkpoint needs.
    #[error("the pickle calls {0}, which no checkpoint needs; nothing of it was run")]
    Calls(String),
    /// The storage class is unknown.
    #[error("the storage class '{0}'; expected torch's")]
    StorageClass(String),
    /// The values are combined in a way that no valid checkpoint has.
    #[error("{0}")]
    Shape(&'static str),
}
