using System.Runtime.CompilerServices;
using Npgsql;

namespace PgEntra;

/// <summary>Distinguishes the settings that the application wrote into a connection string from those of this library.</summary>
/// <remarks>
/// If a data source builder is configured several times, the last call counts. Each call starts from the application's own
/// settings, so that the role of one identity is not an explicit user of the next.
/// </remarks>
internal sealed class ConfiguredSettings
{
    private static readonly ConditionalWeakTable<NpgsqlConnectionStringBuilder, ConfiguredSettings> Instances = [];

    private readonly NpgsqlConnectionStringBuilder settings;
    private readonly Dictionary<string, Change> changes = [];
    private string? host;

    private ConfiguredSettings(NpgsqlConnectionStringBuilder settings) => this.settings = settings;

    internal static ConfiguredSettings Of(NpgsqlConnectionStringBuilder settings) =>
        Instances.GetValue(settings, static settings => new(settings));

    /// <summary>Returns the application's value of a setting; <see langword="null"/> if it has none.</summary>
    /// <param name="keyword">The keyword in Npgsql's spelling.</param>
    internal object? Given(string keyword)
    {
        var current = Current(keyword);
        return changes.TryGetValue(keyword, out var change) && IsUnchanged(current, change.Written) ? change.Given : current;
    }

    /// <summary>Writes settings, which replace those of the last call.</summary>
    /// <param name="wanted">Values by keyword; <see langword="null"/> removes a setting.</param>
    internal void Write(Dictionary<string, object?> wanted)
    {
        // Read before the first change, because the host's instance shows whether the settings are still those of the last call.
        var before = changes.Keys.Union(wanted.Keys).ToDictionary(keyword => keyword, Given);
        changes.Clear();
        foreach (var (keyword, given) in before)
        {
            // A new string, so that the same text is another instance if the application writes it later.
            var value = wanted.TryGetValue(keyword, out var found) ? found is string text ? new string(text.AsSpan()) : found : given;
            if (value is null)
            {
                _ = settings.Remove(keyword);
            }
            else
            {
                settings[keyword] = value;
            }

            if (wanted.ContainsKey(keyword))
            {
                changes[keyword] = new(given, Current(keyword));
            }
        }

        host = settings.Host;
    }

    private object? Current(string keyword) => settings.ShouldSerialize(keyword) ? settings[keyword] : null;

    /// <summary>
    /// Returns whether a value is still the one that this library wrote. Npgsql keeps the instances of strings, unless the
    /// whole connection string was assigned, which also replaces the instance of the host.
    /// </summary>
    private bool IsUnchanged(object? current, object? written) => current is string && ReferenceEquals(settings.Host, host)
        ? ReferenceEquals(current, written)
        : Equals(current, written);

    private sealed class Change(object? given, object? written)
    {
        internal object? Given => given;

        internal object? Written => written;
    }
}
