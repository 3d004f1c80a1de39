"use strict";

// Finds the program in the package of this platform.

const { existsSync } = require("node:fs");
const { dirname, join } = require("node:path");

/** The packages, by platform: on Linux, the C library decides which program starts. */
const PLATFORMS = {
  "linux-x64": ["linux-x64-gnu", "linux-x64-musl"],
  "linux-arm64": ["linux-arm64-gnu", "linux-arm64-musl"],
  "darwin-x64": ["darwin-x64"],
  "darwin-arm64": ["darwin-arm64"],
};

function find() {
  const platform = `${process.platform}-${process.arch}`;
  const names = PLATFORMS[platform];
  if (names === undefined) {
    const supported = Object.keys(PLATFORMS).join(", ");
    throw new Error(`@pgentra/emulator does not support the platform ${platform}. It runs on ${supported}.`);
  }
  // npm installs only the package whose C library is this system's.
  for (const name of names) {
    try {
      const program = join(dirname(require.resolve(`@pgentra/emulator-${name}/package.json`)), "pgentra-emulator");
      if (existsSync(program)) return program;
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  const packages = names.map((name) => `@pgentra/emulator-${name}`).join(" or ");
  throw new Error(
    `the program of @pgentra/emulator for ${platform} is not installed. It is in the package ${packages}, an optional ` +
      "dependency of @pgentra/emulator. Install on the platform on which the tests run, without --omit=optional.",
  );
}

module.exports = {
  get path() {
    return find();
  },
};
