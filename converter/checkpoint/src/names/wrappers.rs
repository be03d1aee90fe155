//! Takes the names of wrapper modules out of tensor names.

/// Names of wrappers' inner modules: torch.compile, activation checkpointing, fully sharded data parallel, DeepSpeed.
const WRAPPERS: [&str; 4] = ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_forward_module"];

/// Returns `name` without the wrappers' names, wherever they stand in it.
pub(super) fn unwrapped(name: &str) -> String {
    if !WRAPPERS.iter().any(|wrapper| name.contains(wrapper)) {
        return name.to_string();
    }
    name.split('.').filter(|segment| !WRAPPERS.contains(segment)).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn wrappers_go_wherever_they_stand_and_nothing_else_does() {
        for (wrapped, plain) in [
            ("module._orig_mod.blocks.0.norm1.alpha", "module.blocks.0.norm1.alpha"),
            ("blocks.0._orig_mod.ls1", "blocks.0.ls1"),
            ("_fsdp_wrapped_module.blocks.1._checkpoint_wrapped_module._orig_mod.ls1", "blocks.1.ls1"),
            ("my_orig_mod.x", "my_orig_mod.x"),
            ("blocks.0.ls1", "blocks.0.ls1"),
        ] {
            assert_eq!(unwrapped(wrapped), plain);
        }
    }
}
