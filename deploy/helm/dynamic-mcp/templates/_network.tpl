{{/* All executors, as peers of a policy in the release's namespace. */}}
{{- define "dynamic-mcp.fromExecutors" -}}
{{- range $namespace := splitList "," (include "dynamic-mcp.executorNamespaces" .) -}}
- podSelector:
    matchLabels:
      app: dynamic-mcp-executor
{{- if ne $namespace $.Release.Namespace }}
  namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ $namespace }}
{{- end }}
{{ end }}
{{- end }}

{{/* The cluster's DNS and no other. */}}
{{- define "dynamic-mcp.toNames" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end }}
