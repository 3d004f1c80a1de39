using Npgsql;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>Converts the engine's settings to those of Npgsql.</summary>
internal static class NpgsqlSettings
{
    private static readonly Dictionary<string, string> Keywords = new()
    {
        ["application_name"] = "Application Name",
        ["channel_binding"] = "Channel Binding",
        ["client_encoding"] = "Client Encoding",
        ["connect_timeout"] = "Timeout",
        ["dbname"] = "Database",
        ["krbsrvname"] = "Kerberos Service Name",
        ["password"] = "Password",
        ["sslcert"] = "SSL Certificate",
        ["sslkey"] = "SSL Key",
        ["sslmode"] = "SSL Mode",
        ["sslpassword"] = "SSL Password",
        ["sslrootcert"] = "Root Certificate",
        ["target_session_attrs"] = "Target Session Attributes",
        ["user"] = "Username",
    };

    /// <summary>Returns a mode in libpq's spelling; <see langword="null"/> for a value that is not a mode.</summary>
    internal static string? NameOf(SslMode mode) => mode switch
    {
        SslMode.Disable => "disable",
        SslMode.Allow => "allow",
        SslMode.Prefer => "prefer",
        SslMode.Require => "require",
        SslMode.VerifyCA => "verify-ca",
        SslMode.VerifyFull => "verify-full",
        _ => null,
    };

    /// <summary>Returns what a plan adds to the connection string, by Npgsql's keywords and with values of their types.</summary>
    /// <exception cref="PgEntraException">Service Connector's variables have a value that Npgsql does not accept.</exception>
    internal static Dictionary<string, object?> Of(ConnectionPlan plan)
    {
        var texts = new Dictionary<string, string>();
        foreach (var (keyword, value) in plan.Settings)
        {
            switch (keyword)
            {
                case "host" or "port":
                    break;
                case "hostaddr":
                    // The TLS rule was applied to this address, but Npgsql would not connect to it.
                    throw Refused("hostaddr", "Npgsql has no such setting");
                case "sslrootcert" when value == "system":
                    // This is Npgsql's default.
                    break;
                default:
                    texts[Keywords.GetValueOrDefault(keyword, keyword)] = value;
                    break;
            }
        }

        AddHosts(plan.Settings, texts);
        if (plan.SslMode is { } required)
        {
            texts["SSL Mode"] = required;
        }

        return Typed(texts);
    }

    /// <summary>Returns a value with the type of its setting.</summary>
    internal static object? Typed(string keyword, string text)
    {
        var trial = new NpgsqlConnectionStringBuilder { [keyword] = text };
        return trial[keyword];
    }

    /// <summary>Npgsql lists several hosts with their ports in one setting.</summary>
    private static void AddHosts(Dictionary<string, string> settings, Dictionary<string, string> texts)
    {
        var ports = settings.GetValueOrDefault("port", "").Split(',');
        if (settings.GetValueOrDefault("host") is { } hosts)
        {
            texts["Host"] = ports.Length == 1
                ? hosts
                : string.Join(',', hosts.Split(',').Select((host, index) => WithPort(host, ports.ElementAtOrDefault(index))));
        }

        if (ports is [{ Length: > 0 } port])
        {
            texts["Port"] = port;
        }
    }

    private static string WithPort(string host, string? port) => string.IsNullOrEmpty(port) ? host
        : host.Contains(':', StringComparison.Ordinal) && host[0] is not ('[' or '/') ? $"[{host}]:{port}"
        : $"{host}:{port}";

    private static Dictionary<string, object?> Typed(Dictionary<string, string> texts)
    {
        var typed = new Dictionary<string, object?>();
        foreach (var (keyword, text) in texts)
        {
            var trial = new NpgsqlConnectionStringBuilder();
            if (!trial.ContainsKey(keyword))
            {
                PgEntraLogging.Warn(
                    $"The setting {keyword} of Azure Service Connector's variables is not used, because Npgsql has no such setting.");
                continue;
            }

            try
            {
                trial[keyword] = keyword == "SSL Mode" ? text.Replace("-", "", StringComparison.Ordinal) : text;
            }
            catch (ArgumentException)
            {
                // Npgsql's message contains the value.
                throw Refused(keyword, "Npgsql does not accept its value");
            }

            // The only key is the keyword itself, of which `keyword` may be a synonym.
            foreach (string name in trial.Keys)
            {
                typed[name] = trial[name];
            }
        }

        return typed;
    }

    private static PgEntraException Refused(string keyword, string cause) => NativeError.Create(
        ErrorKind.InvalidConnection,
        $"the setting {keyword} of Azure Service Connector's variables cannot be used: {cause}",
        "Change the variables, or set it in the connection string.");
}
