package io.github.pgentra.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.pgentra.Emulator;
import java.io.InputStream;
import java.lang.module.ModuleDescriptor;
import java.lang.module.ModuleFinder;
import java.lang.reflect.Executable;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;

/** What the jar says of itself: its module, its dependencies, and the metadata for native-image. */
class ArtifactTest {
    private static final Path BINDING = Emulator.root().resolve("bindings-java");

    @Test
    void moduleNeedsNothingButJava() {
        ModuleDescriptor module = ModuleFinder.of(BINDING.resolve("pgentra/target/classes"))
                .find("io.github.pgentra")
                .orElseThrow()
                .descriptor();
        assertFalse(module.isAutomatic());
        for (ModuleDescriptor.Requires required : module.requires()) {
            boolean isOptional = required.modifiers().contains(ModuleDescriptor.Requires.Modifier.STATIC);
            assertTrue(isOptional || required.name().startsWith("java."), required.toString());
        }
        Set<String> exported = new java.util.TreeSet<>();
        module.exports().forEach(one -> exported.add(one.source()));
        assertFalse(exported.contains("io.github.pgentra.internal"));
        assertTrue(exported.containsAll(List.of("io.github.pgentra", "io.github.pgentra.jdbc")), exported.toString());
    }

    @Test
    void pomHasNoDependencyAndWhatMavenCentralNeeds() throws Exception {
        NodeList dependencies = pom("pgentra/pom.xml").getElementsByTagName("dependency");
        assertTrue(dependencies.getLength() > 0);
        for (int i = 0; i < dependencies.getLength(); i++) {
            Element dependency = (Element) dependencies.item(i);
            boolean isOptional = text(dependency, "optional").equals("true")
                    || text(dependency, "scope").equals("test");
            assertTrue(isOptional, text(dependency, "artifactId"));
        }
        for (String path : List.of("pom.xml", "pgentra/pom.xml", "pgentra-azure/pom.xml")) {
            Element pom = pom(path);
            assertFalse(text(pom, "name").isEmpty(), path);
            assertFalse(text(pom, "description").isEmpty(), path);
        }
        Element parent = pom("pom.xml");
        for (String name : List.of("url", "licenses", "developers", "scm", "connection")) {
            assertEquals(true, parent.getElementsByTagName(name).getLength() > 0, name);
        }
    }

    private static Element pom(String path) throws Exception {
        return DocumentBuilderFactory.newInstance()
                .newDocumentBuilder()
                .parse(BINDING.resolve(path).toFile())
                .getDocumentElement();
    }

    private static String text(Element element, String name) {
        NodeList found = element.getElementsByTagName(name);
        return found.getLength() == 0 ? "" : found.item(0).getTextContent();
    }

    /** Native-image would fail at run time for a class or method that is not there. */
    @Test
    void nativeImageMetadataNamesWhatExists() throws Exception {
        String folder = "/META-INF/native-image/io.github.pgentra/pgentra/";
        try (InputStream file = Native.class.getResourceAsStream(folder + "reachability-metadata.json")) {
            Map<String, Object> metadata = Json.object(new String(file.readAllBytes(), StandardCharsets.UTF_8));
            for (Object entry : (List<?>) metadata.get("reflection")) {
                Map<?, ?> one = (Map<?, ?>) entry;
                Class<?> type = Class.forName(one.get("type").toString());
                List<?> methods = one.get("methods") instanceof List<?> list ? list : List.of();
                for (Object method : methods) {
                    Map<?, ?> wanted = (Map<?, ?>) method;
                    List<Executable> all = new ArrayList<>(Arrays.asList(type.getDeclaredMethods()));
                    all.addAll(Arrays.asList(type.getDeclaredConstructors()));
                    assertTrue(all.stream().anyMatch(found -> matches(found, type, wanted)), type + " " + wanted);
                }
            }
        }
        try (InputStream file = Native.class.getResourceAsStream(folder + "native-image.properties")) {
            assertTrue(new String(file.readAllBytes(), StandardCharsets.UTF_8).contains(Native.class.getName()));
        }
    }

    private static boolean matches(Executable found, Class<?> type, Map<?, ?> wanted) {
        String name = found.getName().equals(type.getName()) ? "<init>" : found.getName();
        List<String> parameters = Arrays.stream(found.getParameterTypes())
                .map(Class::getCanonicalName)
                .toList();
        return name.equals(wanted.get("name")) && parameters.equals(wanted.get("parameterTypes"));
    }

    /** The methods that the native library looks up and registers are those of the classes. */
    @Test
    void signaturesOfTheNativeLibraryAreThoseOfTheClasses() throws Exception {
        String text = Files.readString(BINDING.resolve("native/src/natives.rs"));
        Stream<String> names = Arrays.stream(Native.class.getDeclaredMethods())
                .filter(method -> java.lang.reflect.Modifier.isNative(method.getModifiers()))
                .map(method -> method.getName());
        names.forEach(name -> assertTrue(text.contains("\"" + name + "\" \"("), name));
    }
}
