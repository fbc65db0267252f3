package docs

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// section is a heading that one may go to.
type section struct{ ID, Title string }

// languages of examples, in the order of their tabs.
var languages = []struct{ ID, Name, ext string }{
	{"curl", "curl", ".sh"}, {"go", "Go", ".go"}, {"typescript", "TypeScript", ".mjs"}, {"python", "Python", ".py"},
}

// markdown makes a page's text. A block of code marked "tabs NAME" is the example of that name in all
// languages it is there for, one marked "example FILE" that file. Text in HTML is left out, as goldmark does.
func (s *site) markdown(source []byte) (template.HTML, []section, error) {
	blocks := &codeBlocks{examples: s.examples}
	md := goldmark.New(
		goldmark.WithExtensions(extension.Table),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(blocks, 100))),
	)
	doc := md.Parser().Parse(text.NewReader(source))
	var sections []section
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if id, ok := n.AttributeString("id"); ok && n.Level == 2 {
				sections = append(sections, section{string(id.([]byte)), plainText(n, source)})
			}
		case *ast.Link:
			to, err := s.target(string(n.Destination))
			if err != nil {
				return ast.WalkStop, err
			}
			n.Destination = []byte(to)
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("follow links: %w", err)
	}
	var out bytes.Buffer
	if err := md.Renderer().Render(&out, source, doc); err != nil {
		return "", nil, fmt.Errorf("render: %w", err)
	}
	// Tables may be wider than a phone, and are moved by keyboard too.
	body := strings.NewReplacer("<table>", `<div class="table" tabindex="0"><table>`, "</table>", "</table></div>").Replace(out.String())
	return template.HTML(body), sections, nil // of Markdown of ours, HTML in which is left out
}

// elsewhere is where links of texts that are read in the repository too lead on the site.
var elsewhere = map[string]string{
	SourceFile: "file", SourceSandbox: "sandbox", SourcePython: "python", SourceTypeScript: "typescript",
	"client/examples/README.md": "", "README.md": "",
}

// target is where a link leads: a file of the repository to the page or the example that it is here.
func (s *site) target(to string) (string, error) {
	switch {
	case strings.HasPrefix(to, "#"), strings.HasPrefix(to, "/docs"), strings.HasPrefix(to, "https://"):
		return to, nil
	}
	file, _, _ := strings.Cut(to, "#")
	file = strings.TrimLeft(file, "./")
	if name, ok := elsewhere[file]; ok {
		return pathOf(name), nil
	}
	name := file[strings.LastIndex(file, "/")+1:]
	if _, ok := s.examples[name]; ok {
		return pathOf(name), nil
	}
	return "", fmt.Errorf("%s is nowhere on the site", to)
}

// plainText is what a node says.
func plainText(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// codeBlocks renders blocks of code, and tabs in the place of those that name an example.
type codeBlocks struct {
	examples map[string]string
	tabs     int
}

// RegisterFuncs is goldmark's.
func (c *codeBlocks) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindFencedCodeBlock, c.render)
}

func (c *codeBlocks) render(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	n := node.(*ast.FencedCodeBlock)
	var info string
	if n.Info != nil {
		info = string(n.Info.Value(source))
	}
	what, name, _ := strings.Cut(info, " ")
	switch what {
	case "tabs":
		return ast.WalkSkipChildren, c.writeTabs(w, name)
	case "example":
		content, ok := c.examples[name]
		if !ok {
			return ast.WalkStop, fmt.Errorf("there is no example %s", name)
		}
		writeExample(w, name, content)
	default:
		var content strings.Builder
		for i := range n.Lines().Len() {
			line := n.Lines().At(i)
			content.Write(line.Value(source))
		}
		writeCode(w, content.String())
	}
	return ast.WalkSkipChildren, nil
}

func (c *codeBlocks) writeTabs(w util.BufWriter, name string) error {
	c.tabs++
	var radios, panels strings.Builder
	for _, l := range languages {
		content, ok := c.examples[name+l.ext]
		if !ok {
			continue
		}
		checked := ""
		if panels.Len() == 0 {
			checked = " checked"
		}
		id := fmt.Sprintf("tab%d-%s", c.tabs, l.ID)
		fmt.Fprintf(&radios, `<input type="radio" name="tab%d" id="%s" value="%s"%s><label for="%s">%s</label>`, c.tabs, id, l.ID, checked, id, l.Name)
		fmt.Fprintf(&panels, `<div class="panel">`)
		writeExample(&panels, name+l.ext, content)
		panels.WriteString("</div>")
	}
	if panels.Len() == 0 {
		return fmt.Errorf("there is no example %s in any language", name)
	}
	_, err := fmt.Fprintf(w, "<fieldset class=\"tabs\"><legend>Language</legend>%s%s</fieldset>\n", &radios, &panels)
	return err
}

type stringWriter interface{ WriteString(s string) (int, error) }

// writeExample and the others write to memory.
func writeExample(w stringWriter, name, content string) {
	writeCode(w, content)
	_, _ = w.WriteString(`<p class="source"><a href="` + pathOf(name) + `">` + name + "</a></p>\n")
}

func writeCode(w stringWriter, content string) {
	_, _ = w.WriteString(`<div class="code"><pre tabindex="0"><code>` + template.HTMLEscapeString(strings.TrimRight(content, "\n")) + "</code></pre></div>\n")
}
