using System.Buffers;
using System.Collections;
using System.Text;
using System.Text.Json;

namespace PgEntra;

/// <summary>Writes the engine's JSON documents.</summary>
internal static class JsonWriting
{
    /// <summary>Returns a JSON object as text.</summary>
    /// <param name="content">Writes the object's members.</param>
    internal static string Object(Action<Utf8JsonWriter> content)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            content(writer);
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    /// <summary>Writes a member, unless its value is <see langword="null"/>.</summary>
    internal static void WriteOptional(this Utf8JsonWriter writer, string key, string? value)
    {
        if (value is not null)
        {
            writer.WriteString(key, value);
        }
    }

    /// <summary>Writes all environment variables as members.</summary>
    internal static void WriteEnvironment(this Utf8JsonWriter writer)
    {
        foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
        {
            writer.WriteString((string)variable.Key, (string?)variable.Value);
        }
    }
}
