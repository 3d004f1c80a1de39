package io.github.pgentra.spring;

import org.springframework.aot.hint.MemberCategory;
import org.springframework.aot.hint.RuntimeHints;
import org.springframework.aot.hint.RuntimeHintsRegistrar;
import org.springframework.aot.hint.TypeReference;

/** What a native image needs beside the metadata of pgentra's own jar: the plugin, which pgjdbc loads by its name. */
final class EntraRuntimeHints implements RuntimeHintsRegistrar {
    @Override
    public void registerHints(RuntimeHints hints, ClassLoader classLoader) {
        hints.reflection()
                .registerType(
                        TypeReference.of(EntraDataSourceProcessor.PLUGIN), MemberCategory.INVOKE_PUBLIC_CONSTRUCTORS);
        hints.resources().registerPattern("META-INF/native/pgentra/*/*");
    }
}
