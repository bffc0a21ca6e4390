//! Builds a mutant where the environment asks for one: `TOTEM_MUTANT=name` sets
//! `cfg(mutant = "name")`, which the simulator must catch.

fn main() {
    println!("cargo::rerun-if-env-changed=TOTEM_MUTANT");
    println!("cargo::rustc-check-cfg=cfg(mutant, values(any()))");
    if let Ok(mutant) = std::env::var("TOTEM_MUTANT") {
        println!("cargo::rustc-cfg=mutant=\"{mutant}\"");
    }
}
