//! What can be wrong with a file of `torch.save`.

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
        /// The entry.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The archive was written by something else.
    #[error("a zip archive that is {kind}; {way_out}")]
    OtherArchive {
        /// What it is.
        kind: &'static str,
        /// How to get a readable file out of it.
        way_out: &'static str,
    },
    /// The archive is a compiled program.
    #[error(
        "a TorchScript archive; expected a state_dict: in Python, torch.save(torch.jit.load(\"FILE\").state_dict(), \
         \"weights.pth\")"
    )]
    TorchScript,
    /// The numbers have the other order of bytes.
    #[error("a checkpoint with big-endian numbers; expected little-endian ones")]
    BigEndian,
    /// The pickle in the archive cannot be read.
    #[error("data.pkl: {0}")]
    DataPickle(PickleReason),
    /// The file of before PyTorch 1.6 is damaged.
    #[error("a damaged PyTorch file: {0}")]
    Legacy(#[from] PickleReason),
    /// A storage has another length than the pickle says.
    #[error("storage '{key}' has {found}; expected {expected}")]
    StorageLength {
        /// The storage's key.
        key: String,
        /// What the file holds.
        found: String,
        /// What the pickle says.
        expected: String,
    },
    /// A storage is not in the file.
    #[error("its storage '{0}' is not in the file")]
    NoStorage(String),
    /// A view does not fit its storage.
    #[error("the view ends at element {end}, its storage has {elements}")]
    View {
        /// One past the view's last element.
        end: usize,
        /// Elements of the storage.
        elements: usize,
    },
    /// The tensors together would be far larger than the file.
    #[error("tensors that unfold to far more than the file's size")]
    Unfolds,
    /// A tensor's description makes no sense.
    #[error("{0}")]
    Tensor(&'static str),
    /// There is no dictionary of tensors.
    #[error("no dictionary of tensors; expected a state_dict, alone or under a key such as 'model'")]
    NoStateDict,
    /// There are too many dictionaries to choose from.
    #[error("more than {0} dictionaries with a ResMLP's names; expected the weights of one network")]
    TooMany(usize),
    /// The file is or holds a whole object.
    #[error(
        "{}a pickled object of class '{class}'; expected tensors by name: save model.state_dict() instead",
        if place.is_empty() { String::new() } else { format!("'{place}' is ") }
    )]
    Object {
        /// Where it lies; empty for the file itself.
        place: String,
        /// Its class.
        class: String,
    },
}

/// Why a pickle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PickleReason {
    /// The reason, and where it was met.
    #[error("{reason} (opcode 0x{opcode:02x} at byte {byte})")]
    At {
        /// What is wrong.
        reason: Box<PickleReason>,
        /// The opcode that was being read.
        opcode: u8,
        /// Where it stands.
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
    /// A mark is not there or not where it should be.
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
    /// A memo key is no number.
    #[error("a memo key that is no number")]
    MemoKey,
    /// A name is absurdly long.
    #[error("a name of {0} letters; expected at most {NAME_LIMIT}")]
    LongName(usize),
    /// A persistent id is written as text.
    #[error("a persistent id as text; expected torch's tuple")]
    PersistentText,
    /// The pickle calls something that a checkpoint has no reason to call.
    #[error("the pickle calls {0}, which no checkpoint needs; nothing of it was run")]
    Calls(String),
    /// The storage class is unknown.
    #[error("the storage class '{0}'; expected torch's")]
    StorageClass(String),
    /// Values are not put together as Python would.
    #[error("{0}")]
    Shape(&'static str),
}
