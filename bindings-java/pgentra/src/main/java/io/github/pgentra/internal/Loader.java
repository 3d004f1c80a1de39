package io.github.pgentra.internal;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Loads the native library: {@code -Dpgentra.native.path}, a file, or else the one of this platform in a jar. A file belongs
 * to one class loader, so each extracts its own, loads it and deletes it at once.
 */
final class Loader {
    private Loader() {}

    static void load() {
        String given = System.getProperty("pgentra.native.path");
        if (given != null) {
            System.load(Path.of(given).toAbsolutePath().toString());
            return;
        }
        String resource = "/META-INF/native/pgentra/" + platform() + "/" + System.mapLibraryName("pgentra_jni");
        List<String> failures = new ArrayList<>();
        for (String folder : folders()) {
            Path file = null;
            try (InputStream library = Loader.class.getResourceAsStream(resource)) {
                if (library == null) {
                    throw new UnsatisfiedLinkError("pgentra has no native library for the platform " + platform()
                            + ". Add the jar with the classifier " + platform() + ", or name a file with"
                            + " -Dpgentra.native.path.");
                }
                file = Files.createTempFile(Path.of(folder), "pgentra", System.mapLibraryName(""));
                Files.copy(library, file, StandardCopyOption.REPLACE_EXISTING);
                System.load(file.toAbsolutePath().toString());
                return;
            } catch (IOException | SecurityException e) {
                failures.add(folder + ": " + e);
            } catch (UnsatisfiedLinkError e) {
                if (file == null) {
                    throw e;
                }
                failures.add(folder + ": " + e.getMessage());
            } finally {
                if (file != null) {
                    delete(file);
                }
            }
        }
        throw new UnsatisfiedLinkError("pgentra's native library could not be loaded from " + String.join("; ", failures)
                + ". Name a folder that can be written and executed with -Dpgentra.native.dir, or a file with"
                + " -Dpgentra.native.path.");
    }

    private static void delete(Path file) {
        try {
            Files.deleteIfExists(file);
        } catch (IOException e) {
            // Windows keeps a loaded file.
            file.toFile().deleteOnExit();
        }
    }

    private static List<String> folders() {
        String given = System.getProperty("pgentra.native.dir");
        return given != null ? List.of(given) : List.of(System.getProperty("java.io.tmpdir"), "/dev/shm");
    }

    /** The name of this platform, such as {@code linux-x64}. */
    static String platform() {
        String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
        String machine = System.getProperty("os.arch").toLowerCase(Locale.ROOT);
        String name = system.contains("linux")
                ? (Files.exists(Path.of("/lib/ld-musl-" + (isArm(machine) ? "aarch64" : "x86_64") + ".so.1"))
                        ? "linux-musl"
                        : "linux")
                : system.contains("mac") ? "macos" : system.contains("win") ? "windows" : system.replace(' ', '-');
        return name + "-" + (isArm(machine) ? "arm64" : machine.matches("amd64|x86_64") ? "x64" : machine);
    }

    private static boolean isArm(String machine) {
        return machine.equals("aarch64") || machine.equals("arm64");
    }
}
