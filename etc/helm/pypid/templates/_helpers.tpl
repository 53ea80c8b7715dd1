{{- define "pypid.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "pypid.selector" -}}
app.kubernetes.io/name: pypid
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pypid.labels" -}}
{{ include "pypid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* A value as pypid.ini has it: lists by white space, yes and no, no exponents. */}}
{{- define "pypid.value" -}}
{{- if kindIs "slice" . -}}
{{ join " " . }}
{{- else if kindIs "bool" . -}}
{{ ternary "yes" "no" . }}
{{- else if kindIs "float64" . -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* The names by which clients in the cluster and the ingress reach the Service, and configured ones. */}}
{{- define "pypid.hosts" -}}
{{- $name := include "pypid.name" . }}
{{- $service := printf "%s.%s" $name .Release.Namespace }}
{{- $hosts := list $name $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) }}
{{- if .Values.ingress.enabled }}{{ $hosts = append $hosts .Values.ingress.host }}{{ end }}
{{- with .Values.config.server.allowed_hosts }}{{ $hosts = append $hosts (include "pypid.value" .) }}{{ end }}
{{- join " " $hosts }}
{{- end }}

{{- define "pypid.ini" -}}
{{- range $section, $keys := .Values.config }}
{{- $lines := list }}
{{- range $key, $value := $keys }}
{{- if eq (printf "%s.%s" $section $key) "server.allowed_hosts" }}
{{- $lines = append $lines (printf "%s = %s" $key (include "pypid.hosts" $)) }}
{{- else if not (kindIs "invalid" $value) }}
{{- $lines = append $lines (printf "%s = %s" $key (include "pypid.value" $value)) }}
{{- end }}
{{- end }}
{{- if $lines }}
[{{ $section }}]
{{ join "\n" $lines }}
{{ end }}
{{- end }}
{{- with .Values.extraConfig }}
{{ . }}
{{- end }}
{{- end }}
