export default { output: "standalone", serverExternalPackages: ["pgentra"] };
