package io.github.pgentra.frameworks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.pgentra.OptionsBuilder;
import io.github.pgentra.jdbc.EntraDataSource;
import java.io.IOException;
import java.io.StringWriter;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The examples of the documentation compile, and its table of options is complete. */
class DocumentationTest {
    private static final Path ROOT = Path.of("..", "..");
    private static final Pattern BLOCK = Pattern.compile("^```java\n(.*?)^```$", Pattern.MULTILINE | Pattern.DOTALL);
    private static final Pattern CLASS = Pattern.compile("^public class (\\w+)", Pattern.MULTILINE);
    private static final Pattern ROW = Pattern.compile("^\\| `(\\w+)` \\|", Pattern.MULTILINE);
    private static final Pattern IMPORT = Pattern.compile("^import .*;\n", Pattern.MULTILINE);

    /** What the examples use without declaring it. */
    private static final String IMPORTS =
            """
            import com.azure.core.credential.*;
            import com.zaxxer.hikari.*;
            import io.github.pgentra.*;
            import io.github.pgentra.azure.*;
            import io.github.pgentra.hikari.*;
            import io.github.pgentra.identity.*;
            import io.github.pgentra.jdbc.*;
            import io.github.pgentra.r2dbc.*;
            import io.r2dbc.pool.*;
            import io.r2dbc.spi.ConnectionFactory;
            import io.r2dbc.spi.ConnectionFactoryOptions;
            import io.vertx.core.*;
            import io.vertx.pgclient.*;
            import io.vertx.sqlclient.*;
            import java.sql.Connection;
            import java.sql.SQLException;
            """;

    private static final String FIELDS =
            """
                static TokenProvider provider;
                static EntraDataSource source;
                static String url;
                static com.azure.core.credential.TokenCredential tokenCredential;
                static PgConnectOptions options;
                static Vertx vertx;
                static void connect(String user, String password) {}
                static void work(Connection connection) throws SQLException {}
                static void later() {}
            """;

    private static final class Source extends SimpleJavaFileObject {
        private final String text;

        private Source(String name, String text) {
            super(URI.create("string:///" + name + ".java"), Kind.SOURCE);
            this.text = text;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }
    }

    private static List<Path> pages() throws IOException {
        try (Stream<Path> files = Files.list(ROOT.resolve("docs"))) {
            return Stream.concat(
                            Stream.of(ROOT.resolve("README.md"), ROOT.resolve("bindings-java/README.md")),
                            files.filter(file -> file.toString().endsWith(".md"))
                                    .sorted())
                    .toList();
        }
    }

    @Test
    void examplesCompile(@TempDir Path classes) throws IOException {
        List<JavaFileObject> sources = new ArrayList<>();
        for (Path page : pages()) {
            int number = 0;
            for (MatchResult block :
                    BLOCK.matcher(Files.readString(page)).results().toList()) {
                String code = block.group(1);
                String name = ROOT.relativize(page).toString().replaceAll("\\W", "_") + "_" + ++number;
                var declared = CLASS.matcher(code);
                if (declared.find()) {
                    sources.add(new Source(declared.group(1), code));
                    continue;
                }
                String imports =
                        IMPORT.matcher(code).results().map(MatchResult::group).collect(Collectors.joining());
                sources.add(new Source(
                        name,
                        IMPORTS + imports + "class " + name + " {\n" + FIELDS
                                + "    static void run() throws Exception {\n"
                                + IMPORT.matcher(code).replaceAll("") + "    }\n}\n"));
            }
        }
        assertTrue(sources.size() >= 8, sources.size() + " examples");
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        var output = new StringWriter();
        String path = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
        List<String> options = List.of("--release", "17", "-proc:none", "-d", classes.toString(), "-classpath", path);
        assertTrue(compiler.getTask(output, null, null, options, null, sources).call(), output.toString());
    }

    @Test
    void tableHasEveryOption() throws IOException {
        String page = Files.readString(ROOT.resolve("docs/java.md"));
        String table = page.split("<!-- options")[1].split("<!-- end of options")[0];
        Set<String> listed =
                ROW.matcher(table).results().map(row -> row.group(1)).collect(Collectors.toCollection(TreeSet::new));
        Set<String> existing = Stream.of(OptionsBuilder.class, EntraDataSource.Builder.class)
                .flatMap(type -> Arrays.stream(type.getDeclaredMethods()))
                .filter(method -> Modifier.isPublic(method.getModifiers()) && !method.isSynthetic())
                .map(Method::getName)
                .filter(name -> !name.equals("build") && !name.equals("properties"))
                .collect(Collectors.toCollection(TreeSet::new));
        assertEquals(existing, listed);
    }
}
