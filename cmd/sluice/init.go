package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/sluice-cdc/sluice/change"
)

const modulePath = "github.com/sluice-cdc/sluice"

//go:embed handler/*.tmpl
var handlerFiles embed.FS

func initCommand() *cobra.Command {
	c := &cobra.Command{Use: "init", Short: "write a program or a page to begin with"}
	c.AddCommand(initHandler())
	return c
}

// newProgram is what the templates of a handler's program know.
type newProgram struct {
	Name    string // of the program and its group
	Module  string
	Path    string // of our module
	Version string
	Replace string // a checkout; empty: the module is fetched
}

func initHandler() *cobra.Command {
	p := newProgram{Path: modulePath}
	c := &cobra.Command{
		Use: "handler DIR", Short: "write a new program that does with the changes what you like", Args: cobra.ExactArgs(1),
		Long: `Write a new Go program into DIR, which is made: main.go with a function that is called for each change, go.mod, page.yaml, README.md.
Nothing that is there is overwritten.

The program requires the version of Sluice that this program is of. One that was built from a checkout has none: then --replace
names the checkout.`,
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if p.Version, err = moduleVersion(p.Replace); err != nil {
				return err
			}
			if p.Replace != "" {
				if p.Replace, err = filepath.Abs(p.Replace); err != nil {
					return err
				}
			}
			return p.write(args[0])
		},
	}
	c.Flags().StringVar(&p.Module, "module", "", "the new module's path (default: the folder's name)")
	c.Flags().StringVar(&p.Replace, "replace", "", "a checkout of Sluice to build with, in place of a release")
	return c
}

var released = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// moduleVersion is the version that go.mod is to require.
func moduleVersion(replace string) (string, error) {
	if replace != "" {
		text, err := os.ReadFile(filepath.Join(replace, "go.mod"))
		if err != nil || !strings.HasPrefix(string(text), "module "+modulePath+"\n") {
			return "", &change.Problem{Kind: change.Configuration, What: "--replace " + replace + " is no checkout of " + modulePath, Err: err, Mend: "name the folder with its go.mod"}
		}
		return "v0.0.0", nil
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path == modulePath && released.MatchString(info.Main.Version) {
		return info.Main.Version, nil
	}
	return "", &change.Problem{Kind: change.Configuration, What: "this sluice was built from a checkout and has no version that could be required",
		Mend: "name the checkout: sluice init handler --replace PATH DIR"}
}

var moduleName = regexp.MustCompile(`^[A-Za-z0-9._~/-]+$`)

// write writes the program's files into a folder, which may be there, but not the files.
func (p *newProgram) write(dir string) error {
	full, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	p.Name = filepath.Base(full)
	if p.Module == "" {
		p.Module = p.Name
	}
	if !moduleName.MatchString(p.Module) || !moduleName.MatchString(p.Name) {
		return &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("%q cannot be a module's name", p.Module), Mend: "name one of letters, digits, . _ - and /: --module example.org/mine"}
	}
	files := map[string]string{"main.go": "main.go.tmpl", "go.mod": "go.mod.tmpl", "page.yaml": "page.yaml.tmpl", "README.md": "README.md.tmpl"}
	for name := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			return &change.Problem{Kind: change.Configuration, What: filepath.Join(dir, name) + " is there already", Err: err, Mend: "name a new folder"}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	templates, err := template.ParseFS(handlerFiles, "handler/*.tmpl")
	if err != nil {
		return err
	}
	for name, from := range files {
		var text strings.Builder
		if err := templates.ExecuteTemplate(&text, from, p); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	if p.Replace != "" { // the checkout knows the sums of what it needs
		sums, err := os.ReadFile(filepath.Join(p.Replace, "go.sum"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("wrote %s: main.go, go.mod, page.yaml, README.md\nnext: cd %s && go mod tidy && go build && ./%s doctor --config page.yaml\n", dir, dir, p.Name)
	return nil
}
