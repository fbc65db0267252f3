package docs

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"
	text "text/template"
)

//go:embed pages assets swagger/swagger-ui-bundle.js swagger/swagger-ui.css
var own embed.FS

// page is one of the site. Those whose source is a name without a folder are in pages.
type page struct {
	name, title, source string
}

// groups are the sidebar.
var groups = []struct {
	Title string
	pages []page
}{
	{"Start", []page{{"", "Quickstart", "quickstart.md"}, {"try", "Try it", "try.html"}}},
	{"Tasks", []page{
		{"nightly", "Export each night", "nightly.md"}, {"callbacks", "Receive callbacks", "callbacks.md"},
		{"keys", "Rotate keys", "keys.md"}, {"file", "Read the file right", SourceFile},
		{"sandbox", "Test in the sandbox", SourceSandbox},
	}},
	{"Reference", []page{
		{"signing", "Sign requests", "signing.md"}, {"errors", "Errors", "errors.md"}, {"reference", "All routes", "reference.html"},
	}},
	{"Clients", []page{{"python", "Python", SourcePython}, {"typescript", "TypeScript", SourceTypeScript}}},
}

// Paths of what Config.Sources has.
const (
	SourceFile       = "file.md"
	SourceSandbox    = "sandbox.md"
	SourcePython     = "client/python/README.md"
	SourceTypeScript = "client/typescript/README.md"
	sourceExamples   = "client/examples"
)

// Config is what the pages are made of.
type Config struct {
	// Sources has the pages that are told elsewhere too, and the examples, by their paths below api.
	Sources fs.FS
	// Service is how this one is set up.
	Service Service
}

// File is something to be served below /docs.
type File struct {
	ContentType string
	Content     []byte
}

const html = "text/html; charset=utf-8"

// types of files by the ends of their names. Examples are texts, to be read in a browser.
var types = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

const plain = "text/plain; charset=utf-8"

// Files are what is served, by the name behind /docs/, "" being /docs itself.
func Files(c Config) (map[string]File, error) {
	s, err := newSite(c)
	if err != nil {
		return nil, err
	}
	out := map[string]File{}
	for _, folder := range []string{"assets", "swagger"} {
		if err := collect(out, own, folder); err != nil {
			return nil, err
		}
	}
	for name, example := range s.examples {
		out[name] = File{plain, []byte(example)}
	}
	vectors, err := json.MarshalIndent(s.vectors, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode test vectors: %w", err)
	}
	out["vectors.json"] = File{"application/json; charset=utf-8", append(vectors, '\n')}
	for _, g := range groups {
		for _, p := range g.pages {
			content, err := s.render(p)
			if err != nil {
				return nil, fmt.Errorf("make page %q: %w", p.name, err)
			}
			out[p.name] = File{html, content}
		}
	}
	return out, nil
}

func collect(out map[string]File, from fs.FS, folder string) error {
	entries, err := fs.ReadDir(from, folder)
	if err != nil {
		return fmt.Errorf("list %s: %w", folder, err)
	}
	for _, e := range entries {
		content, err := fs.ReadFile(from, path.Join(folder, e.Name()))
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Name(), err)
		}
		out[e.Name()] = File{types[path.Ext(e.Name())], content}
	}
	return nil
}

// site is what pages are made with.
type site struct {
	Config
	examples map[string]string // by the names they are served by
	vectors  Vectors
	layout   *template.Template
}

func newSite(c Config) (*site, error) {
	s := &site{Config: c}
	var err error
	if s.examples, err = readExamples(c.Sources); err != nil {
		return nil, err
	}
	if s.vectors, err = MakeVectors(); err != nil {
		return nil, err
	}
	if s.layout, err = template.ParseFS(own, "pages/*.html"); err != nil {
		return nil, fmt.Errorf("parse pages: %w", err)
	}
	return s, nil
}

// readExamples gives programs a name each: that of Go's, main.go in a folder, is the folder's with .go.
func readExamples(sources fs.FS) (map[string]string, error) {
	out := map[string]string{}
	err := fs.WalkDir(sources, sourceExamples, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Ext(name) == ".md" {
			return err
		}
		content, err := fs.ReadFile(sources, name)
		if path.Base(name) == "main.go" {
			name = path.Dir(name) + ".go"
		}
		out[path.Base(name)] = string(content)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read examples: %w", err)
	}
	return out, nil
}

func (s *site) render(p page) ([]byte, error) {
	view := struct {
		Title, Name string
		Groups      any
		Sections    []section
		Body        template.HTML
		Bare        bool // of others' making, in a width of its own
	}{Title: p.title, Name: p.name, Groups: sidebar(), Bare: p.name == "reference"}
	if path.Ext(p.source) == ".html" {
		var body bytes.Buffer
		if err := s.layout.ExecuteTemplate(&body, p.source, s.facts()); err != nil {
			return nil, fmt.Errorf("fill in: %w", err)
		}
		view.Body = template.HTML(body.String()) // ours
	} else {
		source, err := s.source(p)
		if err != nil {
			return nil, err
		}
		if view.Body, view.Sections, err = s.markdown(source); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	if err := s.layout.ExecuteTemplate(&out, "layout.html", view); err != nil {
		return nil, fmt.Errorf("lay out: %w", err)
	}
	return out.Bytes(), nil
}

// source is the Markdown of a page, the numbers filled in where it is of this package.
func (s *site) source(p page) ([]byte, error) {
	if p.source == SourceFile || p.source == SourceSandbox || strings.Contains(p.source, "/") {
		content, err := fs.ReadFile(s.Sources, p.source)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		return content, nil
	}
	content, err := own.ReadFile("pages/" + p.source)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	t, err := text.New(p.source).Funcs(text.FuncMap{"span": span, "kib": kib, "json": indented}).Parse(string(content))
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, s.facts()); err != nil {
		return nil, fmt.Errorf("fill in: %w", err)
	}
	return out.Bytes(), nil
}

type link struct{ Name, Path, Title string }

type group struct {
	Title string
	Links []link
}

func sidebar() []group {
	var out []group
	for _, g := range groups {
		to := group{Title: g.Title}
		for _, p := range g.pages {
			to.Links = append(to.Links, link{p.name, pathOf(p.name), p.title})
		}
		out = append(out, to)
	}
	return out
}

func pathOf(name string) string { return strings.TrimSuffix("/docs/"+name, "/") }
