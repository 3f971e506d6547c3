// cumulus completion SHELL: a completion script, made from the command line's own description, so it cannot go stale.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "output.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  bash:  source <(cumulus completion bash)                                        for this shell
         cumulus completion bash > ~/.local/share/bash-completion/completions/cumulus    for good
  zsh:   cumulus completion zsh > "${fpath[1]}/_cumulus"
  fish:  cumulus completion fish > ~/.config/fish/completions/cumulus.fish)";

// --- What there is to complete --------------------------------------------------------------------------------------------------

struct OptionModel {
  std::vector<std::string> flags;  // "--op"; empty: a positional
  std::string name, description;
  bool takes_value = false, file = false;
  std::vector<std::string> choices;
};

struct CommandModel {
  std::string name, description;
  std::vector<OptionModel> options;
};

// "OP:{sum,prod}" lists choices; ".npy" and "FILE" stand for files.
void decode_type(const std::string& type, OptionModel& model) {
  model.file = type.find(".npy") != std::string::npos || type.find("FILE") != std::string::npos;
  const std::size_t open = type.find('{'), close = type.find('}');
  if (open == std::string::npos || close == std::string::npos) return;
  std::string choice;
  for (const char c : type.substr(open + 1, close - open - 1) + ",") {
    if (c != ',') choice += c;
    else if (!choice.empty()) model.choices.push_back(std::exchange(choice, ""));
  }
}

CommandModel model_of(const CLI::App& app) {
  CommandModel model{app.get_name(), app.get_description(), {}};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    OptionModel entry;
    for (const std::string& name : option->get_snames()) entry.flags.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) entry.flags.push_back("--" + name);
    entry.name = option->get_name();
    entry.description = option->get_description();
    entry.takes_value = option->get_items_expected_max() > 0;
    decode_type(option->get_type_name(), entry);
    model.options.push_back(std::move(entry));
  }
  return model;
}

std::vector<CommandModel> models_of(CLI::App& app) {
  std::vector<CommandModel> models;
  for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
    if (!command->get_group().empty()) models.push_back(model_of(*command));
  return models;
}

std::string single_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::vector<std::string> flags_of(const CommandModel& command) {
  std::vector<std::string> flags;
  for (const OptionModel& option : command.options) flags.insert(flags.end(), option.flags.begin(), option.flags.end());
  return flags;
}

std::vector<std::string> names_of(const std::vector<CommandModel>& commands) {
  std::vector<std::string> names;
  names.reserve(commands.size());
  for (const CommandModel& command : commands) names.push_back(command.name);
  return names;
}

// --- bash -----------------------------------------------------------------------------------------------------------------------

std::string bash_script(const CommandModel& root, const std::vector<CommandModel>& commands) {
  std::string script =
      "# bash completion for cumulus\n"
      "_cumulus() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then\n";
  script +=
      fmt::format("    mapfile -t COMPREPLY < <(compgen -W '{} {}' -- \"$current\")\n    return\n  fi\n  case \"$command $previous\" in\n",
                  fmt::join(names_of(commands), " "), fmt::join(flags_of(root), " "));
  for (const CommandModel& command : commands) {
    for (const OptionModel& option : command.options) {
      if (option.flags.empty() || !option.takes_value) continue;
      std::string pattern;
      for (const std::string& flag : option.flags) pattern += fmt::format("{}'{} {}'", pattern.empty() ? "" : "|", command.name, flag);
      const std::string action =
          !option.choices.empty() ? fmt::format("mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$current\")", fmt::join(option.choices, " "))
          : option.file           ? "mapfile -t COMPREPLY < <(compgen -f -- \"$current\")"
                                  : ":";
      script += fmt::format("    {}) {}; return ;;\n", pattern, action);
    }
  }
  script += "  esac\n  case \"$command\" in\n";
  for (const CommandModel& command : commands) {
    std::vector<std::string> words = flags_of(command);
    bool files = false;
    for (const OptionModel& option : command.options) {
      if (!option.flags.empty()) continue;
      words.insert(words.end(), option.choices.begin(), option.choices.end());
      files = files || option.file;
    }
    script += fmt::format("    {}) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$current\"{}) ;;\n", command.name, fmt::join(words, " "),
                          files ? "; [[ $current == -* ]] || compgen -f -- \"$current\"" : "");
  }
  return script + "  esac\n}\ncomplete -o filenames -F _cumulus cumulus\n";
}

// --- zsh ------------------------------------------------------------------------------------------------------------------------

// Text inside [...] or after ':' of an _arguments specification.
std::string zsh_text(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string zsh_value(const OptionModel& option) {
  const std::string action = !option.choices.empty() ? fmt::format("({})", fmt::join(option.choices, " ")) : option.file ? "_files" : "";
  return fmt::format(":{}:{}", zsh_text(option.name), action);
}

std::string zsh_script(const std::vector<CommandModel>& commands) {
  std::string script = "#compdef cumulus\n# zsh completion for cumulus\n_cumulus() {\n  local -a commands\n  commands=(\n";
  for (const CommandModel& command : commands)
    script += fmt::format("    {}\n", single_quoted(command.name + ":" + zsh_text(command.description)));
  script +=
      "  )\n  if ((CURRENT == 2)); then\n    _describe command commands\n    return\n  fi\n"
      "  local command=${words[2]}\n  shift words\n  ((CURRENT--))\n  case $command in\n";
  for (const CommandModel& command : commands) {
    script += fmt::format("    {})\n      _arguments", command.name);
    for (const OptionModel& option : command.options) {
      for (const std::string& flag : option.flags)
        script += " \\\n        " +
                  single_quoted(fmt::format("{}[{}]{}", flag, zsh_text(option.description), option.takes_value ? zsh_value(option) : ""));
      if (option.flags.empty()) script += " \\\n        " + single_quoted(zsh_value(option));
    }
    script += " ;;\n";
  }
  return script + "  esac\n}\nif [ \"$funcstack[1]\" = _cumulus ]; then _cumulus \"$@\"; else compdef _cumulus cumulus; fi\n";
}

// --- fish -----------------------------------------------------------------------------------------------------------------------

std::string fish_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return result + "'";
}

std::string fish_script(const std::vector<CommandModel>& commands) {
  std::string script = "# fish completion for cumulus\ncomplete -c cumulus -f\n";
  for (const CommandModel& command : commands)
    script += fmt::format("complete -c cumulus -n __fish_use_subcommand -a {} -d {}\n", command.name, fish_quoted(command.description));
  for (const CommandModel& command : commands) {
    const std::string line = fmt::format("complete -c cumulus -n '__fish_seen_subcommand_from {}'", command.name);
    for (const OptionModel& option : command.options) {
      std::string flags;
      for (const std::string& flag : option.flags) flags += flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
      const std::string values = !option.choices.empty() ? fmt::format(" -a '{}'", fmt::join(option.choices, " ")) : "";
      const std::string mode = option.file ? " -r -F" : option.takes_value && !option.flags.empty() ? " -x" : "";
      script += fmt::format("{}{}{}{} -d {}\n", line, flags, mode, values, fish_quoted(option.description));
    }
  }
  return script;
}

}  // namespace

void add_completion(CLI::App& app, int&) {
  auto* command = app.add_subcommand("completion", "Print a shell completion script");
  const auto shell = std::make_shared<std::string>();
  const auto json = std::make_shared<bool>(false);
  command->add_option("SHELL", *shell, "The shell")->type_name("SHELL")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  add_json_flag(*command, *json);
  set_examples(*command, kExamples);
  command->callback([&app, shell, json] {
    const std::vector<CommandModel> commands = models_of(app);
    const std::string script = *shell == "bash"  ? bash_script(model_of(app), commands)
                               : *shell == "zsh" ? zsh_script(commands)
                                                 : fish_script(commands);
    if (*json) print_json({{"shell", *shell}, {"script", script}});
    else print(script);
  });
}

}  // namespace cumulus::cli
