using System.Diagnostics;
using System.Globalization;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace PgEntra.Tests;

/// <summary>The packages, installed from a local folder into a new program, and the samples.</summary>
public sealed partial class PackageTests(Emulator emulator, PackageTests.Packages packages) : IClassFixture<PackageTests.Packages>
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);
    private static readonly string Runtime = RuntimeInformation.RuntimeIdentifier;

    [Fact]
    public void Package_contains_the_native_library_and_every_framework()
    {
        using var package = ZipFile.OpenRead(Path.Combine(packages.Folder, $"PgEntra.{packages.Version}.nupkg"));
        var entries = package.Entries.Select(entry => entry.FullName).ToHashSet();
        Assert.Contains($"runtimes/{Runtime}/native/libpgentra.so", entries);
        Assert.Contains("README.md", entries);
        foreach (var framework in new[] { "net8.0", "net9.0", "net10.0" })
        {
            Assert.Contains($"lib/{framework}/PgEntra.dll", entries);
            Assert.Contains($"lib/{framework}/PgEntra.xml", entries);
        }

        using var specification = new StreamReader(package.GetEntry("PgEntra.nuspec")!.Open());
        var text = specification.ReadToEnd();
        Assert.Equal(3, text.Split("<dependency ").Length - 1);
        Assert.Contains("id=\"Npgsql\" version=\"9.0.3\"", text, StringComparison.Ordinal);
        Assert.Contains("id=\"Npgsql\" version=\"10.0.0\"", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("net8.0", "9.0.3")]
    [InlineData("net8.0", "10.0.0")]
    [InlineData("net10.0", "10.0.0")]
    public async Task Package_installed_in_a_new_program_logs_in(string framework, string npgsql)
    {
        var program = packages.NewProgram($"{framework}-{npgsql}");
        string[] build =
            ["build", "-v", "q", "-nologo", "-p:UseAppHost=false", $"-p:ConsumerFramework={framework}", $"-p:NpgsqlVersion={npgsql}"];
        await RunAsync(program, "dotnet", [.. build, .. packages.Properties]);
        var assembly = Path.Combine(program, "bin", "Debug", framework, "Consumer.dll");
        Assert.Equal(npgsql, FileVersionInfo.GetVersionInfo(Path.Combine(Path.GetDirectoryName(assembly)!, "Npgsql.dll")).ProductVersion?.Split('+')[0]);
        await LogsInAsync("dotnet", [assembly]);

        // VerifyFull without a file of certificate authorities: the operating system's are used, here those of SSL_CERT_FILE.
        var verifying = new Npgsql.NpgsqlConnectionStringBuilder(emulator.ConnectionString) { RootCertificate = null };
        Assert.Equal(Npgsql.SslMode.VerifyFull, verifying.SslMode);
        Assert.Equal("logged in as app-mi", (await RunAsync(program, "dotnet", [assembly, verifying.ConnectionString])).Trim());

        // Without TLS no byte of a token is sent. If that is allowed, the same server does request it.
        await emulator.ControlPostgresAsync(new { plaintext = true });
        var refused = await RunAsync(program, "dotnet", [assembly, emulator.ConnectionString, "refused"]);
        Assert.Equal("insecure_transport, insecure_transport", refused.Trim());
        Assert.Equal(0, await PlaintextBytesAsync());
        var allowed = await RunAsync(program, "dotnet", [assembly, emulator.ConnectionString, "allowed"]);
        Assert.Equal("the server's, the server's", allowed.Trim());
        Assert.True(await PlaintextBytesAsync() > 0);
        await emulator.ResetAsync();
    }

    [Theory]
    [InlineData("win-x64")]
    [InlineData("osx-arm64")]
    [InlineData("linux-arm64")]
    [InlineData("linux-musl-x64")]
    public async Task Package_published_for_a_platform_without_a_library_is_an_error(string platform)
    {
        var program = packages.NewProgram(platform);
        string[] publish =
            ["publish", "-v", "q", "-nologo", "-r", platform, "--no-self-contained", "-p:UseAppHost=false", "-p:ConsumerFramework=net10.0"];
        var output = await RunAsync(program, "dotnet", [.. publish, .. packages.Properties], status: 1);
        Assert.Contains(
            $"error PGENTRA001: The package PgEntra does not support the target platform {platform}: it has no native library for it.",
            output,
            StringComparison.Ordinal);
        Assert.DoesNotContain("error NETSDK", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Package_without_a_library_for_the_platform_names_the_platform_at_run_time()
    {
        var program = packages.NewProgram("no-library");
        string[] build = ["build", "-v", "q", "-nologo", "-p:UseAppHost=false", "-p:ConsumerFramework=net10.0", "-o", "out"];
        await RunAsync(program, "dotnet", [.. build, .. packages.Properties]);
        foreach (var library in Directory.GetFiles(Path.Combine(program, "out"), "libpgentra.so", SearchOption.AllDirectories))
        {
            File.Delete(library);
        }

        var output = await RunAsync(program, "dotnet", [Path.Combine(program, "out", "Consumer.dll"), emulator.ConnectionString], status: 134);
        Assert.Contains(
            $"System.PlatformNotSupportedException: PgEntra cannot load its native library on {Runtime}", output, StringComparison.Ordinal);
        Assert.Contains($"contains it for {Runtime}.", output, StringComparison.Ordinal);
        Assert.DoesNotContain("TypeInitializationException", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task SingleFile_logs_in()
    {
        var program = packages.NewProgram("single-file");
        string[] publish =
            ["publish", "-v", "q", "-nologo", "-r", Runtime, "--self-contained", "-p:PublishSingleFile=true", "-p:ConsumerFramework=net9.0", "-o", "out"];
        await RunAsync(program, "dotnet", [.. publish, .. packages.Properties]);
        Assert.False(File.Exists(Path.Combine(program, "out", "PgEntra.dll")));
        await LogsInAsync(Path.Combine(program, "out", "Consumer"), []);
    }

    [Fact]
    public async Task NativeAot_compiles_without_a_warning_and_logs_in()
    {
        var program = packages.NewProgram("aot");
        string[] publish =
            ["publish", "-v", "q", "-nologo", "-r", Runtime, "-p:PublishAot=true", "-p:ConsumerFramework=net9.0", "-o", "out"];
        var output = await RunAsync(program, "dotnet", [.. publish, .. packages.Properties]);
        Assert.DoesNotContain("warning", output, StringComparison.OrdinalIgnoreCase);
        Assert.False(File.Exists(Path.Combine(program, "out", "Consumer.dll")));
        await LogsInAsync(Path.Combine(program, "out", "Consumer"), []);
    }

    [Fact]
    public async Task Samples_log_in()
    {
        // A failed test may have left the server without TLS.
        await emulator.ResetAsync();
        var samples = Path.Combine(Emulator.Root, "examples", "dotnet");
        await RunAsync(samples, "dotnet", ["build", "-v", "q", "-nologo", .. packages.Library]);
        var output = await RunAsync(
            samples,
            "dotnet",
            [Path.Combine(samples, "bin", "Debug", "net10.0", "Samples.dll")],
            new()
            {
                ["Host"] = "localhost",
                ["Port"] = emulator.Port.ToString(CultureInfo.InvariantCulture),
                ["PGSSLROOTCERT"] = emulator.CaFile,
            });
        foreach (var mode in new[] { "sync", "async", "efcore", "hosted" })
        {
            Assert.Contains($"{mode}: logged in as app-mi after ", output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Documentation_compiles()
    {
        var program = packages.NewProgram("documents");
        File.Delete(Path.Combine(program, "Program.cs"));
        var count = 0;
        foreach (var document in Documents())
        {
            foreach (Match block in CSharp().Matches(await File.ReadAllTextAsync(Path.Combine(Emulator.Root, document))))
            {
                var lines = block.Groups["code"].Value.Split('\n');
                var usings = lines.Where(line => Using().IsMatch(line)).ToArray();
                await File.WriteAllLinesAsync(
                    Path.Combine(program, $"Block{++count}.cs"),
                    [.. usings, $"static class Block{count} {{ static async Task Run() {{", .. lines.Where(line => !Using().IsMatch(line)), "} }"]);
            }
        }

        Assert.True(count >= 11, $"{count} blocks");
        string[] build = ["build", "-v", "q", "-nologo", "-p:UseAppHost=false", "-p:OutputType=Library", "-p:ConsumerFramework=net10.0", "-p:Documents=true"];
        await RunAsync(program, "dotnet", [.. build, .. packages.Properties]);
    }

    [Fact]
    public async Task Documentation_lists_every_option()
    {
        var page = await File.ReadAllTextAsync(Path.Combine(Emulator.Root, "docs", "dotnet.md"));
        var table = page.Split("<!-- options")[1].Split("<!-- end of options")[0];
        var listed = Row().Matches(table).Select(row => row.Groups["name"].Value).Order();
        Assert.Equal(typeof(EntraOptions).GetProperties().Select(option => option.Name).Order(), listed);
    }

    /// <summary>The pages of the documentation, by their path from the root of the repository.</summary>
    private static IEnumerable<string> Documents() =>
        Directory.EnumerateFiles(Path.Combine(Emulator.Root, "docs"), "*.md")
            .Select(file => Path.GetRelativePath(Emulator.Root, file))
            .Order(StringComparer.Ordinal)
            .Prepend("bindings-dotnet/README.md")
            .Prepend("README.md");

    [GeneratedRegex(@"^\| `(?<name>\w+)` \|", RegexOptions.Multiline)]
    private static partial Regex Row();

    [GeneratedRegex("^```csharp\n(?<code>.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex CSharp();

    [GeneratedRegex(@"^using [\w.]+;$")]
    private static partial Regex Using();

    private static async Task<string> RunAsync(
        string folder, string program, string[] arguments, Dictionary<string, string>? variables = null, int status = 0)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        // The variables of the runner of these tests are not those of the program.
        start.Environment["DOTNET_DbgEnableMiniDump"] = "0";
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToArray())
        {
            start.Environment.Remove(name);
        }

        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        foreach (var (name, value) in variables ?? [])
        {
            start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        using var limit = new CancellationTokenSource(Limit);
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(limit.Token);
            var errors = process.StandardError.ReadToEndAsync(limit.Token);
            await process.WaitForExitAsync(limit.Token);
            var text = await output + await errors;
            Assert.True(process.ExitCode == status, $"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}:\n{text}");
            return text;
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }
        }
    }

    private async Task<long> PlaintextBytesAsync() =>
        (await emulator.CallAsync(HttpMethod.Get, "/postgres"))["counters"]!["plaintext_password_bytes"]!.GetValue<long>();

    private async Task LogsInAsync(string program, string[] arguments)
    {
        await emulator.ResetAsync();
        var output = await RunAsync(packages.Folder, program, [.. arguments, emulator.ConnectionString]);
        Assert.Equal("logged in as app-mi", output.Trim());
    }

    /// <summary>Both packages in a separate folder, with a version that is not cached.</summary>
    public sealed class Packages : IAsyncLifetime
    {
        public string Folder { get; } = Directory.CreateTempSubdirectory("pgentra-packages-").FullName;

        public string Version { get; } = string.Create(CultureInfo.InvariantCulture, $"0.1.0-test.{DateTime.UtcNow.Ticks}");

        public string[] Properties => [$"-p:PgEntraVersion={Version}", $"-p:RestoreAdditionalProjectSources={Folder}"];

        /// <summary>The engine that these tests use.</summary>
        public string[] Library { get; } = [$"-p:PgEntraLibrary={Emulator.Library}"];

        public async ValueTask InitializeAsync()
        {
            foreach (var project in new[] { "PgEntra", "PgEntra.AzureCore" })
            {
                await RunAsync(
                    Path.Combine(Emulator.Root, "bindings-dotnet"),
                    "dotnet",
                    ["pack", $"src/{project}", "-v", "q", "-nologo", "-c", "Release", "-o", Folder, $"-p:PackageVersion={Version}", .. Library]);
            }
        }

        public ValueTask DisposeAsync()
        {
            Directory.Delete(Folder, recursive: true);
            var cache = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
                ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
            foreach (var package in new[] { "pgentra", "pgentra.azurecore" })
            {
                var installed = Path.Combine(cache, package, Version);
                if (Directory.Exists(installed))
                {
                    Directory.Delete(installed, recursive: true);
                }
            }

            return default;
        }

        public string NewProgram(string name)
        {
            var program = Directory.CreateDirectory(Path.Combine(Folder, name)).FullName;
            foreach (var file in Directory.GetFiles(Path.Combine(Emulator.Root, "bindings-dotnet", "tests", "package")))
            {
                File.Copy(file, Path.Combine(program, Path.GetFileName(file)));
            }

            return program;
        }
    }
}
