package io.github.pgentra.uniffi

import com.google.gson.Gson
import com.google.gson.JsonElement
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.net.URI
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.nio.file.Path

/** The emulator as a child process, one for the whole run, and a client of its control endpoint. */
object Emulator {
    val root: Path = generateSequence(Path.of("").toAbsolutePath()) { it.parent }.first { it.resolve("tests/vectors").toFile().exists() }
    private val client = HttpClient.newHttpClient()
    private val addresses: JsonObject
    private var principals = 0

    init {
        val program = System.getenv("PGENTRA_EMULATOR") ?: root.resolve("target/debug/pgentra-emulator").toString()
        val process = ProcessBuilder(program).redirectError(ProcessBuilder.Redirect.INHERIT).start()
        Runtime.getRuntime().addShutdownHook(Thread(process::destroy))
        addresses = JsonParser.parseString(process.inputStream.bufferedReader().readLine()).asJsonObject
    }

    fun text(vararg path: String): String {
        var element: JsonElement = addresses
        for (key in path) {
            element = element.asJsonObject[key]
        }
        return element.asString
    }

    fun call(method: String, path: String, body: Any? = null): JsonElement {
        val publisher = HttpRequest.BodyPublishers.ofString(if (body == null) "" else Gson().toJson(body))
        val request = HttpRequest.newBuilder(URI.create(text("control") + path)).method(method, publisher).build()
        val response = client.send(request, HttpResponse.BodyHandlers.ofString())
        check(response.statusCode() == 200) { "$method $path: ${response.body()}" }
        return JsonParser.parseString(response.body())
    }

    fun reset() {
        call("DELETE", "/faults")
        call("DELETE", "/requests")
        call("POST", "/postgres", mapOf("reset" to true))
    }

    /** Adds an identity of its own for a test, for which no token is cached, and returns its name and client id. */
    fun identity(): Pair<String, String> {
        val name = "mi-kotlin-${ProcessHandle.current().pid()}-${++principals}"
        val made = call("POST", "/principals", listOf(mapOf("name" to name, "kind" to "user_assigned"))).asJsonArray[0]
        return name to made.asJsonObject["appid"].asString
    }

    fun mint(principal: String, lifetime: Int = 3600): String =
        call("POST", "/mint", mapOf("principal" to principal, "lifetime_s" to lifetime)).asJsonObject["token"].asString

    fun requests(): Int = call("GET", "/requests").asJsonObject["requests"].asJsonArray.size()

    /** The configuration of an application that uses the emulator's App Service identity. */
    fun config(clientId: String? = null, vararg more: Pair<String, Any>): String {
        val environment = mapOf(
            "IDENTITY_ENDPOINT" to text("app_service", "endpoint"),
            "IDENTITY_HEADER" to text("app_service", "header"),
            "SSL_CERT_FILE" to text("bundle_file"),
            "NO_PROXY" to "localhost,127.0.0.1",
        )
        val credential = mapOf("type" to "managed_identity", "client_id" to clientId)
        return Gson().toJson(mapOf("environment" to environment, "credential" to credential) + more)
    }

    fun url(): String =
        "jdbc:postgresql://${text("postgres", "host")}:${text("postgres", "port")}/${text("postgres", "database")}" +
            "?sslmode=verify-full&sslrootcert=${text("ca_file")}"
}
