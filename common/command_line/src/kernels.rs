//! Finds the kernels that `--kernels NAME` chooses.

use resmlp_runtime::Kernels;

/// Returns the kernels of this name, or the fastest ones of this CPU if `name` is `None`.
///
/// # Errors
/// If this CPU has no kernels of this name, returns a message that names the option and lists the kernels it has.
pub fn find_kernels(name: Option<&str>) -> Result<&'static Kernels, String> {
    let Some(name) = name else { return Ok(Kernels::fastest()) };
    Kernels::named(name).ok_or_else(|| {
        let names: Vec<_> = Kernels::supported().map(Kernels::name).collect();
        format!("--kernels {name}: this CPU has no such kernels, expected one of: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_have_names_and_the_fastest_need_none() {
        assert_eq!(find_kernels(Some("scalar")).map(Kernels::name), Ok("scalar"));
        assert_eq!(find_kernels(None).map(Kernels::name), Ok(Kernels::fastest().name()));
        let problem = find_kernels(Some("fast")).map(Kernels::name).unwrap_err();
        assert!(problem.starts_with("--kernels fast: ") && problem.ends_with("scalar"), "{problem}");
    }
}
