using System.Text.Json;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>The engine's decision how connections log in, from their settings and the options.</summary>
internal sealed class ConnectionPlan
{
    private static string[]? variables;

    private readonly List<string> warnings = [];

    private ConnectionPlan(JsonElement plan)
    {
        UsesEntra = plan.GetProperty("uses_entra").GetBoolean();
        DropsPassword = plan.GetProperty("drops_password").GetBoolean();
        User = Text(plan, "user");
        UserSource = Text(plan, "user_source");
        SslMode = Text(plan, "sslmode");
        Host = Text(plan, "host");
        var timeout = plan.GetProperty("timeout");
        Timeout = timeout.ValueKind == JsonValueKind.Number ? TimeSpan.FromSeconds(timeout.GetDouble()) : null;
        foreach (var setting in plan.GetProperty("settings").EnumerateObject())
        {
            Settings.Add(setting.Name, setting.Value.GetString() ?? "");
        }

        foreach (var warning in plan.GetProperty("warnings").EnumerateArray())
        {
            warnings.Add(warning.GetString() ?? "");
        }

        if (plan.GetProperty("credential") is { ValueKind: JsonValueKind.Object } credential)
        {
            Credential = ReadCredential(credential);
        }
    }

    /// <summary>Whether the password is a token.</summary>
    internal bool UsesEntra { get; }

    /// <summary>Whether a password of the connection's settings is not used.</summary>
    internal bool DropsPassword { get; }

    /// <summary>The role, unless it comes from the token.</summary>
    internal string? User { get; }

    /// <summary>Where the role came from.</summary>
    internal string? UserSource { get; }

    /// <summary>The mode that replaces the given one, in libpq's spelling.</summary>
    internal string? SslMode { get; }

    /// <summary>The servers' names, separated by commas.</summary>
    internal string? Host { get; }

    /// <summary>The connection's time limit, if one is given.</summary>
    internal TimeSpan? Timeout { get; }

    /// <summary>Settings of Service Connector, by libpq's keywords, that the connection string does not contain.</summary>
    internal Dictionary<string, string> Settings { get; } = [];

    /// <summary>The credential of Service Connector's variables; <see langword="null"/> for the default chain.</summary>
    internal CredentialSource? Credential { get; }

    /// <summary>Requests a plan from the engine.</summary>
    /// <param name="arguments">Writes the connection string's settings by libpq's keywords.</param>
    /// <param name="options">The options.</param>
    /// <param name="credential">The application's credential; <see langword="null"/> for the default chain.</param>
    internal static ConnectionPlan Make(
        Action<Utf8JsonWriter> arguments, EntraOptions options, PgEntraCredential? credential)
    {
        var request = JsonWriting.Object(writer =>
        {
            writer.WriteStartObject("arguments");
            arguments(writer);
            writer.WriteEndObject();
            writer.WriteBoolean("hosts_with_ports", true);
            // Npgsql reads neither service files nor libpq's variables of these settings. The engine itself reads PGUSER. Npgsql
            // takes PGSSLROOTCERT as a file's name, even if it is libpq's "system".
            writer.WriteStartObject("variables");
            writer.WriteEndObject();
            writer.WriteBoolean("service_files", false);
            // If no host is given yet, it can become any.
            writer.WriteBoolean("unknown_server", true);
            // Npgsql uses the operating system's certificate authorities if no file is given.
            writer.WriteBoolean("verifies_certificates", true);
            writer.WriteString("spelling", "pascal");
            writer.WriteBoolean("allow_insecure_transport", options.AllowInsecureTransport);
            writer.WriteBoolean("require_entra", options.RequireEntra);
            writer.WriteBoolean("ignore_password", options.IgnorePassword);
            writer.WriteBoolean("has_credential", credential is not null);
            if (options.ServiceConnector is { } connector)
            {
                writer.WritePropertyName("service_connector");
                if (connector.Name is { } name)
                {
                    writer.WriteStringValue(name);
                }
                else
                {
                    writer.WriteBooleanValue(true);
                }
            }

            writer.WriteStartObject("environment");
            WriteEnvironment(writer, credential?.Source ?? CredentialSource.Default, options.ServiceConnector is not null);
            writer.WriteEndObject();
        });
        NativeError.Check(Native.PlanConnection(request, out var json, out var error), error);
        using var plan = JsonDocument.Parse(NativeString.Take(json)!);
        return new(plan.RootElement);
    }

    /// <summary>Logs the engine's warnings. The engine returns each warning once in a process.</summary>
    internal void LogWarnings() => warnings.ForEach(PgEntraLogging.Warn);

    /// <summary>Writes the variables that the engine needs. Those of Service Connector can have any name.</summary>
    private static void WriteEnvironment(Utf8JsonWriter writer, CredentialSource source, bool complete)
    {
        if (complete)
        {
            writer.WriteEnvironment();
            return;
        }

        foreach (var name in variables ??= ReadVariables())
        {
            writer.WriteOptional(name, source.Variable(name));
        }
    }

    private static string[] ReadVariables()
    {
        NativeError.Check(Native.GetConnectionVariables(out var json, out var error), error);
        using var names = JsonDocument.Parse(NativeString.Take(json)!);
        return [.. names.RootElement.EnumerateArray().Select(name => name.GetString()!)];
    }

    private static CredentialSource ReadCredential(JsonElement credential)
    {
        var document = new CredentialDocument(Text(credential, "type"));
        foreach (var argument in credential.EnumerateObject())
        {
            if (argument.Name != "type")
            {
                _ = document.With(argument.Name, argument.Value.GetString());
            }
        }

        return new(document);
    }

    private static string? Text(JsonElement element, string key) => element.GetProperty(key).GetString();
}
