// Prints the documentation of a Go package as Markdown: `go run ./tools/docs/go IMPORT-PATH FOLDER`.
package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type printer struct {
	files *token.FileSet
	pkg   *doc.Package
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: IMPORT-PATH FOLDER")
	}
	files := token.NewFileSet()
	found, err := build.ImportDir(os.Args[2], 0)
	if err != nil {
		log.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range append(found.GoFiles, found.CgoFiles...) {
		file, err := parser.ParseFile(files, filepath.Join(os.Args[2], name), nil, parser.ParseComments)
		if err != nil {
			log.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	pkg, err := doc.NewFromFiles(files, parsed, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	p := printer{files: files, pkg: pkg}
	fmt.Printf("# %s\n\n```go\nimport %q\n```\n\n%s\n", pkg.Name, pkg.ImportPath, p.text(pkg.Doc))
	p.values("Constants", pkg.Consts)
	p.values("Variables", pkg.Vars)
	for _, function := range pkg.Funcs {
		p.function("##", "", function)
	}
	for _, kind := range pkg.Types {
		fmt.Printf("## type %s\n\n%s%s\n", kind.Name, p.code(kind.Decl), p.text(kind.Doc))
		p.values("", kind.Consts)
		p.values("", kind.Vars)
		for _, function := range kind.Funcs {
			p.function("###", "", function)
		}
		for _, method := range kind.Methods {
			p.function("###", strings.TrimPrefix(method.Recv, "*")+".", method)
		}
	}
}

// text converts a comment. The links of this package lead to the headings of the page.
func (p printer) text(text string) string {
	markdown := p.pkg.Printer()
	markdown.HeadingLevel = 3
	markdown.HeadingID = func(*comment.Heading) string { return "" }
	markdown.DocLinkURL = func(link *comment.DocLink) string {
		for _, kind := range p.pkg.Types {
			if link.Recv == "" && (kind.Name == link.Name || contains(kind.Vars, link.Name) || contains(kind.Consts, link.Name)) {
				return "#type-" + strings.ToLower(kind.Name)
			}
		}
		switch {
		case link.ImportPath != "":
			return "https://pkg.go.dev/" + link.ImportPath
		case contains(p.pkg.Vars, link.Name):
			return "#variables"
		case contains(p.pkg.Consts, link.Name):
			return "#constants"
		default:
			return "#func-" + strings.ToLower(link.Recv+link.Name)
		}
	}
	return string(markdown.Markdown(p.pkg.Parser().Parse(text)))
}

func contains(values []*doc.Value, name string) bool {
	return slices.ContainsFunc(values, func(value *doc.Value) bool { return slices.Contains(value.Names, name) })
}

func (p printer) code(declaration ast.Node) string {
	var text strings.Builder
	if err := format.Node(&text, p.files, declaration); err != nil {
		log.Fatal(err)
	}
	return "```go\n" + text.String() + "\n```\n\n"
}

func (p printer) values(title string, values []*doc.Value) {
	if title != "" && len(values) > 0 {
		fmt.Printf("## %s\n\n", title)
	}
	for _, value := range values {
		fmt.Printf("%s%s\n", p.code(value.Decl), p.text(value.Doc))
	}
}

func (p printer) function(heading, receiver string, function *doc.Func) {
	function.Decl.Body = nil
	fmt.Printf("%s func %s%s\n\n%s%s\n", heading, receiver, function.Name, p.code(function.Decl), p.text(function.Doc))
}
