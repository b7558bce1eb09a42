package website

import (
	"fmt"
	"html"
	"net/http"
	"strings"
)

// A Problem is an error as an error page shows it.
type Problem struct {
	Status  int
	Code    string
	Message string
	Fields  [][2]string // further lines: name, value
	Request string      // request id
	Host    string      // x-amz-id-2
	// Nested is the error met while fetching the error document; nil for none.
	Nested *Problem
}

// Page returns the error page, escaped, in the shape of Amazon's.
func (p Problem) Page() []byte {
	var b strings.Builder
	title := html.EscapeString(fmt.Sprintf("%d %s", p.Status, http.StatusText(p.Status)))
	fmt.Fprintf(&b, "<html>\n<head><title>%s</title></head>\n<body>\n<h1>%s</h1>\n<ul>\n", title, title)
	p.lines(&b)
	line(&b, "RequestId", p.Request)
	line(&b, "HostId", p.Host)
	b.WriteString("</ul>\n")
	if p.Nested != nil {
		b.WriteString("<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n<ul>\n")
		p.Nested.lines(&b)
		b.WriteString("</ul>\n")
	}
	b.WriteString("<hr/>\n</body>\n</html>\n")
	return []byte(b.String())
}

func (p Problem) lines(b *strings.Builder) {
	line(b, "Code", p.Code)
	line(b, "Message", p.Message)
	for _, f := range p.Fields {
		line(b, f[0], f[1])
	}
}

func line(b *strings.Builder, name, value string) {
	fmt.Fprintf(b, "<li>%s: %s</li>\n", html.EscapeString(name), html.EscapeString(value))
}
