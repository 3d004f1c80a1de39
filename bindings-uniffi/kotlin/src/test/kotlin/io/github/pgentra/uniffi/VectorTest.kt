package io.github.pgentra.uniffi

import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.nio.file.Files
import java.util.stream.Stream
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.TestFactory

/** The cases of tests/vectors that functions of the interface show: connection strings, plans, login errors, claims. */
class VectorTest {
    private val vectors = Emulator.root.resolve("tests/vectors")

    private fun tests(file: String, key: String, check: (JsonObject) -> Unit): Stream<DynamicTest> {
        val text = Files.readString(vectors.resolve("$file.json")).replace("{files}", vectors.resolve("services").toString())
        val cases = JsonParser.parseString(text).asJsonObject[key].asJsonArray
        return cases.mapIndexed { index, case -> dynamicTest("$file/$key $index") { check(case.asJsonObject) } }.stream()
    }

    private fun JsonObject.text(key: String): String? = this[key]?.takeUnless { it.isJsonNull }?.asString

    private fun checkError(expected: JsonObject, work: () -> Unit) {
        val error = assertThrows(EntraException::class.java, work)
        val (code, text) = when (error) {
            is EntraException.CredentialValue -> error.code to error.text
            is EntraException.EntraConnectionValue -> error.code to error.text
            else -> throw error
        }
        assertEquals(expected.text("error"), code, text)
        (expected["contains"] ?: JsonArray()).asJsonArray.forEach { assertTrue(text.contains(it.asString), text) }
        assertTrue(!text.contains("pa55word"))
    }

    @TestFactory
    fun connectionStrings() = tests("connections", "strings") { case ->
        val read = { connectionSettings(case.text("text")!!, case.text("form")) }
        when (case.has("error")) {
            true -> checkError(case) { read() }
            false -> assertEquals(case["settings"], JsonParser.parseString(read()))
        }
    }

    @TestFactory
    fun connectionPlans() = tests("connections", "plans") { case ->
        val request = case["request"].asJsonObject.deepCopy()
        request.addProperty("repeat_warnings", true)
        if (!request.has("environment")) request.add("environment", JsonObject())
        val expected = case["result"].asJsonObject
        if (expected.has("error")) {
            checkError(expected) { connectionPlan(request.toString()) }
        } else {
            val plan = JsonParser.parseString(connectionPlan(request.toString())).asJsonObject
            for ((key, value) in expected.entrySet()) {
                if (key != "warns") assertEquals(value, plan[key], "${case.text("name")}: $key")
            }
        }
    }

    @TestFactory
    fun loginErrors() = tests("login_errors", "login_errors") { case ->
        val expected = case["expect"]?.asJsonObject ?: case
        val explained = explainLoginError(case.text("sqlstate"), case.text("message")!!, "app")
        assertEquals(expected.text("cause"), explained.cause)
        assertEquals(expected["retry"].asBoolean, explained.retry)
    }

    @TestFactory
    fun claims() = tests("claims", "tokens") { case ->
        val token = case["token"]
        if (token.isJsonPrimitive && case.has("claims")) {
            assertEquals(case["claims"], JsonParser.parseString(decodeClaims(token.asString)))
        }
    }
}
