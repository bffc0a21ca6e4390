//! Builds a mutant where the environment asks for one: `VIPD_MUTANT=name` sets
//! `cfg(mutant = "name")`, which the simulation of `takeover.rs` must catch.

fn main() {
    println!("cargo::rerun-if-env-changed=VIPD_MUTANT");
    println!("cargo::rustc-check-cfg=cfg(mutant, values(any()))");
    if let Ok(mutant) = std::env::var("VIPD_MUTANT") {
        println!("cargo::rustc-cfg=mutant=\"{mutant}\"");
    }
}
