package io.github.pgentra.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Loads the native library: {@code -Dpgentra.native.path}, a file, or else the one of this platform in a jar. A file belongs
 * to one class loader, so each extracts its own, loads it and deletes it at once, also where loading fails.
 */
final class Loader {
    private static final String ADVICE =
            " Name a folder that can be written and executed with -Dpgentra.native.dir, or a"
                    + " library file with -Dpgentra.native.path.";

    /** The platforms with a library: linux-x64 in the main jar, the others in jars with these classifiers. */
    private static final List<String> CLASSIFIERS = List.of(
            "linux-x64",
            "linux-arm64",
            "linux-musl-x64",
            "linux-musl-arm64",
            "macos-x64",
            "macos-arm64",
            "windows-x64");

    private Loader() {}

    static void load() {
        String given = System.getProperty("pgentra.native.path");
        if (given != null) {
            try {
                loadFile(Path.of(given).toAbsolutePath());
            } catch (UnsatisfiedLinkError | InvalidPathException e) {
                throw failed("pgentra's native library could not be loaded: " + e.getMessage()
                        + ". The file is that of -Dpgentra.native.path.");
            }
            return;
        }
        String resource = "/META-INF/native/pgentra/" + platform() + "/" + System.mapLibraryName("pgentra_jni");
        List<String> failures = new ArrayList<>();
        for (String folder : folders()) {
            Path file = null;
            try (InputStream library = Loader.class.getResourceAsStream(resource)) {
                if (library == null) {
                    throw failed("pgentra has no native library for the platform " + platform() + ". "
                            + (CLASSIFIERS.contains(platform())
                                    ? "Add the jar with the classifier " + platform()
                                    : "It supports " + String.join(", ", CLASSIFIERS)
                                            + ". Run the program on one of these")
                            + ", or name a library file with -Dpgentra.native.path.");
                }
                file = create(Path.of(folder));
                try (OutputStream out = Files.newOutputStream(file)) {
                    library.transferTo(out);
                }
                loadFile(file.toAbsolutePath());
                return;
            } catch (IOException | InvalidPathException | SecurityException e) {
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
        throw failed("pgentra's native library could not be loaded from " + String.join("; ", failures) + "." + ADVICE);
    }

    /**
     * Creates a new file for this user alone. An existing file or link is never used, so that its name need not be secret:
     * {@link Files#createTempFile} would start a secure random generator for it.
     */
    private static Path create(Path folder) throws IOException {
        FileAttribute<?>[] attributes =
                FileSystems.getDefault().supportedFileAttributeViews().contains("posix")
                        ? new FileAttribute<?>[] {
                            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"))
                        }
                        : new FileAttribute<?>[0];
        for (int attempt = 1; ; attempt++) {
            String name = "pgentra" + ProcessHandle.current().pid() + "-" + Long.toHexString(System.nanoTime());
            try {
                return Files.createFile(folder.resolve(System.mapLibraryName(name)), attributes);
            } catch (FileAlreadyExistsException e) {
                if (attempt == 10) {
                    throw e;
                }
            }
        }
    }

    private static void loadFile(Path file) {
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError | SecurityException e) {
            throw e;
        } catch (RuntimeException e) {
            // IllegalCallerException of Java 24 and newer, with --illegal-native-access=deny.
            if (!e.getClass().getSimpleName().equals("IllegalCallerException")) {
                throw e;
            }
            Module module = Loader.class.getModule();
            String name = module.isNamed() ? module.getName() : "ALL-UNNAMED";
            throw new IllegalStateException(
                    "pgentra's native library was not loaded, because this Java runtime denies native access. Start it with"
                            + " --enable-native-access=" + name + ".",
                    e);
        }
    }

    private static UnsatisfiedLinkError failed(String message) {
        return new UnsatisfiedLinkError(message);
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
