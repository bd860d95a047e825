//! Compiles the kernels: for a GPU (feature `cuda`), for the host (feature `cuda-host`). Any other build runs nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Sources below `kernels/`.
const KERNELS: [&str; 13] = [
    "activation",
    "attention",
    "attention_mma",
    "decode",
    "dropout",
    "expand",
    "gradients",
    "layer_norm",
    "loss",
    "residual",
    "rms_norm",
    "rope",
    "rows",
];

fn main() -> Outcome {
    println!("cargo::rerun-if-changed=build.rs");
    let (gpu, host) = (env::var_os("CARGO_FEATURE_CUDA"), env::var_os("CARGO_FEATURE_CUDA_HOST"));
    if gpu.is_none() && host.is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed=kernels");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    if gpu.is_some() {
        for_a_gpu(&out)?;
    }
    for_the_host(&out)
}

/// Each source to PTX, and a table of them, `modules.rs`.
fn for_a_gpu(out: &Path) -> Outcome {
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    // 80 is the oldest generation with bf16; the driver compiles for a newer one.
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    let mut table = String::from("&[");
    for name in KERNELS {
        let target = out.join(format!("{name}.ptx"));
        let status = Command::new(&nvcc)
            .args(["--ptx", "-O3", "-std=c++17", &format!("-arch=compute_{capability}"), "-o"])
            .arg(&target)
            .arg(format!("kernels/{name}.cu"))
            .status()
            .map_err(|error| format!("cannot run '{nvcc}': {error}; make cuda-toolchain"))?;
        if !status.success() {
            return Err(format!("'{nvcc}' cannot compile kernels/{name}.cu").into());
        }
        write!(table, "(\"{name}\", include_str!(r\"{}\")), ", target.display())?;
    }
    Ok(fs::write(out.join("modules.rs"), table + "]")?)
}

/// All sources and the emulation, as a library that the crate is linked with.
#[cfg(feature = "cuda-host")]
fn for_the_host(out: &Path) -> Outcome {
    let (mut declared, mut named) = (String::new(), String::new());
    for module in KERNELS.iter().chain(&["wrong"]) {
        writeln!(declared, "extern \"C\" int ft_module_{module};")?;
        write!(named, "&ft_module_{module}, ")?;
    }
    let table = out.join("modules.cpp");
    let ends = format!("extern \"C\" const int *const ft_modules[] = {{{named}nullptr}};\n");
    fs::write(&table, format!("{declared}extern \"C\" const int *const ft_modules[];\n{ends}"))?;
    let mut build = cc::Build::new();
    // Kernels call no floating-point operation that may be contracted, and the compiler adds none of its own.
    build.cpp(true).std("c++17").opt_level(2).debug(false).flag("-ffp-contract=off").flag("-xc++");
    build.flag("-Wno-unknown-pragmas").flag("-Wno-unused-parameter");
    for name in KERNELS {
        build.file(format!("kernels/{name}.cu"));
    }
    build.files(["kernels/host/emulator.cpp", "kernels/host/wrong.cu"]).file(table);
    build.try_compile("ft_kernels_host")?;
    Ok(())
}

#[cfg(not(feature = "cuda-host"))]
#[expect(clippy::unnecessary_wraps, reason = "so that both are called alike")]
fn for_the_host(_: &Path) -> Outcome {
    Ok(())
}
