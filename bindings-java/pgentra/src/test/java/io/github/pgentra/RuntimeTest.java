package io.github.pgentra;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.pgentra.program.Program;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** Programs on Java runtimes of their own: each supported version, folders for the library, ends of processes. */
@ExtendWith(Emulator.class)
class RuntimeTest {
    /** A loaded machine is slow; a program that hangs is not. */
    private static final long LIMIT_S = 240;

    private static final String CLASS_PATH =
            System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));

    @TempDir
    private Path temporary;

    private record Runtime(int version, Path java) {}

    private static List<Runtime> runtimes() {
        List<Runtime> found = new ArrayList<>();
        found.add(new Runtime(java.lang.Runtime.version().feature(), Path.of(System.getProperty("java.home"))));
        for (String folder : System.getProperty("pgentra.test.runtimes", "").split(File.pathSeparator)) {
            if (!folder.isEmpty()) {
                found.add(new Runtime(version(Path.of(folder)), Path.of(folder)));
            }
        }
        return found;
    }

    private static int version(Path home) {
        try {
            for (String line : Files.readAllLines(home.resolve("release"))) {
                if (line.startsWith("JAVA_VERSION=")) {
                    return java.lang.Runtime.Version.parse(line.replaceAll("JAVA_VERSION=|\"", "")).feature();
                }
            }
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        throw new IllegalStateException(home + " has no version");
    }

    private static Runtime runtime(int least) {
        return runtimes().stream().filter(one -> one.version >= least).findFirst().orElse(null);
    }

    private Output run(Runtime runtime, List<String> options, String... arguments) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(runtime.java.resolve("bin/java").toString());
        command.add("-Djava.io.tmpdir=" + temporary);
        command.addAll(options);
        command.addAll(List.of("-cp", CLASS_PATH, Program.class.getName()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().putAll(Emulator.environment());
        Path file = Files.createTempFile("pgentra-program-", ".txt");
        try {
            Process process = builder.redirectOutput(file.toFile()).start();
            boolean ended = process.waitFor(LIMIT_S, TimeUnit.SECONDS);
            if (!ended) {
                process.destroyForcibly();
            }
            String text = Files.readString(file, StandardCharsets.UTF_8);
            assertTrue(ended, "the program did not end: " + text);
            assertFalse(text.contains("eyJ"), "a token is in the output");
            return new Output(process.exitValue(), text);
        } finally {
            Files.delete(file);
        }
    }

    private record Output(int status, String text) {
        /** The number behind {@code NAME: }. */
        private long number(String name) {
            return text.lines()
                    .filter(line -> line.startsWith(name + ": "))
                    .mapToLong(line -> Long.parseLong(line.substring(name.length() + 2)))
                    .findFirst()
                    .orElseThrow(() -> new AssertionError(text));
        }
    }

    private static Stream<DynamicTest> each(int least, Check check) {
        return runtimes().stream()
                .filter(one -> one.version >= least)
                .map(one -> dynamicTest("Java " + one.version, () -> {
                    // The callbacks of JUnit run once for all of them.
                    Emulator.reset();
                    check.check(one);
                }));
    }

    private interface Check {
        void check(Runtime runtime) throws Exception;
    }

    @TestFactory
    Stream<DynamicTest> loginOnEachVersion() {
        return each(17, runtime -> {
            Output output = run(runtime, List.of(), "login", Emulator.url() + "&user=app-mi");
            assertTrue(output.text.contains("role: app-mi"), output.text);
            assertEquals(0, output.status);
            try (Stream<Path> left = Files.list(temporary)) {
                assertEquals(List.of(), left.filter(path -> path.toString().contains("pgentra")).toList());
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> checkedJniPrintsNothing() {
        return each(17, runtime -> {
            Output output = run(runtime, List.of("-Xcheck:jni"), "use");
            assertTrue(output.text.contains("used"), output.text);
            // The runtime itself prints some for its own libraries.
            List<String> ours = output.text.lines()
                    .filter(line -> line.matches(".*(WARNING in native|WARNING: JNI|FATAL ERROR in native).*"))
                    .toList();
            assertEquals(List.of(), ours, output.text);
        });
    }

    /** A blocking native call would stop the others for the whole wait of 3 s: there are more waiting threads than carriers. */
    @TestFactory
    Stream<DynamicTest> virtualThreadsAreNotPinned() {
        return each(21, runtime -> {
            Emulator.addFault(Map.of("latency_ms", 3000, "times", 1));
            Output output = run(runtime, List.of("-Djdk.virtualThreadScheduler.parallelism=2",
                    "-Djdk.virtualThreadScheduler.maxPoolSize=2"), "gap", "50");
            assertTrue(output.number("waited") >= 2900, output.text);
            // 50 ms on a quiet machine; a loaded one stops the whole process for longer.
            assertTrue(output.number("gap") < 1500, output.text);
            System.out.println("Java " + runtime.version + ": longest gap " + output.number("gap") + " ms of "
                    + output.number("waited") + " ms");
        });
    }

    @Test
    void deniedNativeAccessIsOurError() throws Exception {
        Runtime newest = runtime(24);
        assumeTrue(newest != null, "no Java 24 or newer on this machine");
        Output denied = run(newest, List.of("--illegal-native-access=deny"), "token");
        assertTrue(denied.text.contains("invalid_configuration: "), denied.text);
        assertTrue(denied.text.contains("--enable-native-access=ALL-UNNAMED"), denied.text);
        assertTrue(denied.text.contains("again: true"), denied.text);
        Output allowed = run(
                newest, List.of("--illegal-native-access=deny", "--enable-native-access=ALL-UNNAMED"), "token");
        assertTrue(allowed.number("length") > 500, allowed.text);
        assertFalse(allowed.text.contains("WARNING"), allowed.text);
    }

    @Test
    void moduleIsAllowedNativeAccessByItsName() throws Exception {
        Runtime newest = runtime(24);
        assumeTrue(newest != null, "no Java 24 or newer on this machine");
        String classes = Path.of("target/classes").toAbsolutePath().toString();
        Output output = run(
                newest,
                List.of(
                        "--module-path",
                        classes,
                        "--add-modules",
                        "io.github.pgentra",
                        "--illegal-native-access=deny",
                        "--enable-native-access=io.github.pgentra"),
                "token");
        assertTrue(output.number("length") > 500, output.text);
    }

    @Test
    void classLoadersAreCollectedOneAfterAnother() throws Exception {
        Output output = run(runtime(17), List.of("-Dprogram.classpath=" + CLASS_PATH), "loaders", "4");
        assertEquals(4, output.text.lines().filter(line -> line.startsWith("length: ")).count(), output.text);
        assertEquals(0, output.number("alive"), output.text);
        assertEquals(0, output.status);
    }

    @Test
    void folderThatIsReadOnlyIsPassedOver() throws Exception {
        Output output = run(runtime(17), List.of("-Djava.io.tmpdir=/proc"), "token");
        assertTrue(output.number("length") > 500, output.text);
        Output none = run(runtime(17), List.of("-Dpgentra.native.dir=/proc"), "token");
        for (String part : List.of("/proc: ", "-Dpgentra.native.dir", "-Dpgentra.native.path", "again: true")) {
            assertTrue(none.text.contains(part), none.text);
        }
    }

    @Test
    void folderWithoutExecutionIsPassedOver() throws Exception {
        Path folder = Files.createDirectory(temporary.resolve("noexec"));
        // `unshare` gives a mount that ends with the program.
        Process mount = new ProcessBuilder("unshare", "-m", "mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", folder.toString())
                .redirectErrorStream(true)
                .start();
        assumeTrue(mount.waitFor() == 0, "this user cannot mount a folder without execution");
        String java = runtime(17).java.resolve("bin/java").toString();
        String program = "mount -t tmpfs -o noexec tmpfs " + folder + " && " + java + " -cp " + CLASS_PATH;
        for (String option : List.of("-Djava.io.tmpdir=", "-Dpgentra.native.dir=")) {
            ProcessBuilder builder = new ProcessBuilder("unshare", "-m", "sh", "-c",
                    program + " " + option + folder + " " + Program.class.getName() + " token; ls " + folder);
            builder.environment().putAll(Emulator.environment());
            Process process = builder.redirectErrorStream(true).start();
            String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertTrue(text.contains(option.contains("native") ? "-Dpgentra.native.path" : "length: "), text);
            // The file is deleted, also where it could not be loaded.
            assertFalse(text.lines().anyMatch(line -> line.startsWith("pgentra") && line.endsWith(".so")), text);
        }
    }

    @Test
    void fileIsTheOneOfTheProperty() throws Exception {
        Path library = Path.of("target/classes/META-INF/native/pgentra/linux-x64/libpgentra_jni.so").toAbsolutePath();
        Output output = run(runtime(17), List.of("-Dpgentra.native.path=" + library), "token");
        assertTrue(output.number("length") > 500, output.text);
        Path text = Files.writeString(temporary.resolve("no-library.so"), "text");
        Output wrong = run(runtime(17), List.of("-Dpgentra.native.path=" + text), "token");
        assertTrue(wrong.text.contains("invalid_configuration: "), wrong.text);
        assertTrue(wrong.text.contains("-Dpgentra.native.path"), wrong.text);
    }

    /** The end of a process in each situation, several times. */
    @TestFactory
    Stream<DynamicTest> processEndsByItself() {
        int times = Integer.parseInt(System.getenv().getOrDefault("PGENTRA_EXITS", "5"));
        List<String> situations = List.of(
                "exit-idle",
                "exit-during-fetch",
                "exit-during-wait",
                "exit-in-callback",
                "exit-in-hook",
                "exit-in-completion");
        return situations.stream().map(situation -> dynamicTest(situation, () -> {
            Emulator.reset();
            if (situation.contains("during")) {
                Emulator.addFault(Map.of("connection", "black_hole"));
            }
            for (int i = 0; i < times; i++) {
                Runtime runtime = runtimes().get(i % runtimes().size());
                Output output = run(runtime, List.of(), situation);
                assertEquals(0, output.status, output.text);
                if (situation.equals("exit-in-hook")) {
                    assertTrue(output.number("hook") > 500, output.text);
                }
            }
            Emulator.clearFaults();
        }));
    }

}
