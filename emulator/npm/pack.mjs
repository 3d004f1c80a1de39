// Packs the packages to publish: `@pgentra/emulator`, and one for each platform whose program exists.
//
//   node emulator/npm/pack.mjs FOLDER PLATFORM=PROGRAM...    such as linux-x64-gnu=target/release/pgentra-emulator

import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const LIBRARIES = { gnu: ["glibc"], musl: ["musl"] };
const source = dirname(fileURLToPath(import.meta.url));
const [folder, ...programs] = process.argv.slice(2);
if (programs.length === 0) {
    console.error("usage: node emulator/npm/pack.mjs FOLDER PLATFORM=PROGRAM...");
    process.exit(2);
}
mkdirSync(folder, { recursive: true });
const work = mkdtempSync(join(tmpdir(), "pgentra-emulator-pack-"));
try {
    const manifest = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
    const platforms = new Map(programs.map((pair) => pair.split("=")));
    const optionalDependencies = {};
    for (const [platform, program] of platforms) {
        const { description, license, author, homepage, bugs, repository, version, keywords, engines, publishConfig } =
            manifest;
        const name = `${manifest.name}-${platform}`;
        optionalDependencies[name] = version;
        const [os, cpu, library] = platform.split("-");
        const place = join(work, platform);
        mkdirSync(place);
        copyFileSync(program, join(place, "pgentra-emulator"));
        chmodSync(join(place, "pgentra-emulator"), 0o755);
        pack(place, {
            ...{
                name,
                version,
                description: `${description} (${platform})`,
                license,
                author,
                homepage,
                bugs,
                repository,
                keywords,
            },
            ...{ os: [os], cpu: [cpu], ...(library && { libc: LIBRARIES[library] }) },
            ...{ files: ["pgentra-emulator"], engines, publishConfig },
        });
    }
    const place = join(work, "main");
    mkdirSync(place);
    for (const name of ["main.js", "index.js", "index.d.ts"]) copyFileSync(join(source, name), join(place, name));
    copyFileSync(join(source, "..", "README.md"), join(place, "README.md"));
    pack(place, { ...manifest, optionalDependencies });
} finally {
    rmSync(work, { recursive: true, force: true });
}

function pack(place, manifest) {
    copyFileSync(join(source, "..", "..", "LICENSE"), join(place, "LICENSE"));
    writeFileSync(join(place, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
    execFileSync("npm", ["pack", "--silent", "--pack-destination", resolve(folder)], { cwd: place, stdio: "inherit" });
}
