//! States in a model where it comes from.

use std::path::Path;

use resmlp_checkpoint::Checkpoint;
use resmlp_network::Activation;
use resmlp_picture::Preprocess;
use resmlp_runtime::format::version_for;
use serde_json::json;

use crate::locate::Origin;

/// Returns the JSON text that a model carries to say where it comes from.
///
/// Its fields are `checkpoint` (file name), `format`, `dialect`, `parameters`, `calibration_pictures`, `converter`,
/// `format_version`; where the activation is not the exact GELU, `activation`; and where the checkpoint comes from the
/// model hub, `hub` with `repository`, `revision` and `commit`.
pub fn provenance(
    path: &Path,
    origin: Option<&Origin>,
    checkpoint: &Checkpoint,
    preprocess: &Preprocess,
    pictures: usize,
) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut provenance = json!({
        "checkpoint": name,
        "format": checkpoint.format.name(),
        "dialect": checkpoint.network.dialect.name(),
        "parameters": checkpoint.parameters,
        "calibration_pictures": pictures,
        "converter": concat!("resmlp ", env!("CARGO_PKG_VERSION")),
        "format_version": version_for(checkpoint.network.activation, preprocess.packed().fit),
    });
    let activation = checkpoint.network.activation;
    if activation != Activation::Gelu {
        provenance["activation"] = activation.name().into();
    }
    if let Some(origin) = origin {
        provenance["hub"] = json!(origin);
    }
    provenance.to_string()
}
