# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_umdb_global_optspecs
    string join \n p/pid= hold snapshot F/force sysroot= e/execute= json o= clear= suppressions= S P= h/help V/version
end

function __fish_umdb_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_umdb_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_umdb_using_subcommand
    set -l cmd (__fish_umdb_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c umdb -n "__fish_umdb_needs_command" -s p -l pid -d 'Looks at a process: at a frozen copy where that is possible, else it is stopped meanwhile' -r
complete -c umdb -n "__fish_umdb_needs_command" -l sysroot -d 'Looks for the files of a core below a folder, such as the root of its container' -r -F
complete -c umdb -n "__fish_umdb_needs_command" -s e -l execute -d 'Runs commands (separated by ;) and ends' -r
complete -c umdb -n "__fish_umdb_needs_command" -s o -d 'Switches settings on (::set lists them), with commas between; +o switches them off' -r
complete -c umdb -n "__fish_umdb_needs_command" -l clear -d 'Switches settings off, as +o does' -r
complete -c umdb -n "__fish_umdb_needs_command" -l suppressions -d 'Leaves out of ::findleaks the leaks that a file names (::help findleaks); UMDB_SUPPRESSIONS names one too' -r -F
complete -c umdb -n "__fish_umdb_needs_command" -s P -d 'What stands before each line that is typed' -r
complete -c umdb -n "__fish_umdb_needs_command" -l hold -d 'Stops the process while it is looked at'
complete -c umdb -n "__fish_umdb_needs_command" -l snapshot -d 'Looks at a frozen copy of the process, or not at all'
complete -c umdb -n "__fish_umdb_needs_command" -s F -l force -d 'Reads a process that another debugger traces, without its registers: no verdict about leaks'
complete -c umdb -n "__fish_umdb_needs_command" -l json -d 'Answers in JSON, one object a command'
complete -c umdb -n "__fish_umdb_needs_command" -s S -d 'Does not read ~/.umdbrc'
complete -c umdb -n "__fish_umdb_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c umdb -n "__fish_umdb_needs_command" -s V -l version -d 'Print version'
complete -c umdb -n "__fish_umdb_needs_command" -a "snapshot" -d 'Writes the heap of a process, and what belongs to it, to a file that opens like a core'
complete -c umdb -n "__fish_umdb_needs_command" -a "diff" -d 'Lists what grew between two snapshots or cores, new leaks first; status 1 when there are new leaks'
complete -c umdb -n "__fish_umdb_needs_command" -a "run" -d 'Runs a program under libumem.so and looks at its heap when it ends'
complete -c umdb -n "__fish_umdb_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c umdb -n "__fish_umdb_using_subcommand snapshot" -s p -l pid -d 'The process' -r
complete -c umdb -n "__fish_umdb_using_subcommand snapshot" -s o -l output -d 'The file, compressed (zstd) when its name ends in .zst' -r -F
complete -c umdb -n "__fish_umdb_using_subcommand snapshot" -l hold -d 'Stops the process until the file is written'
complete -c umdb -n "__fish_umdb_using_subcommand snapshot" -s h -l help -d 'Print help'
complete -c umdb -n "__fish_umdb_using_subcommand diff" -s n -l lines -d 'Shows so many lines instead of 20' -r
complete -c umdb -n "__fish_umdb_using_subcommand diff" -l sysroot -d 'Looks for files below a folder, such as the root of the container' -r -F
complete -c umdb -n "__fish_umdb_using_subcommand diff" -s d -l details -d 'Shows the whole stack of each'
complete -c umdb -n "__fish_umdb_using_subcommand diff" -l json -d 'Answers in JSON'
complete -c umdb -n "__fish_umdb_using_subcommand diff" -s h -l help -d 'Print help'
complete -c umdb -n "__fish_umdb_using_subcommand run" -s e -l execute -d 'Runs commands (separated by ;) and ends' -r
complete -c umdb -n "__fish_umdb_using_subcommand run" -s o -d 'Switches settings on (::set lists them), with commas between; +o switches them off' -r
complete -c umdb -n "__fish_umdb_using_subcommand run" -l clear -d 'Switches settings off, as +o does' -r
complete -c umdb -n "__fish_umdb_using_subcommand run" -l suppressions -d 'Leaves out of ::findleaks the leaks that a file names (::help findleaks); UMDB_SUPPRESSIONS names one too' -r -F
complete -c umdb -n "__fish_umdb_using_subcommand run" -s P -d 'What stands before each line that is typed' -r
complete -c umdb -n "__fish_umdb_using_subcommand run" -l library -d 'The allocator, when it does not lie beside umdb' -r -F
complete -c umdb -n "__fish_umdb_using_subcommand run" -l error-exitcode -d 'Ends with this status when something was found, instead of the program\'s own' -r
complete -c umdb -n "__fish_umdb_using_subcommand run" -l json -d 'Answers in JSON, one object a command'
complete -c umdb -n "__fish_umdb_using_subcommand run" -s S -d 'Does not read ~/.umdbrc'
complete -c umdb -n "__fish_umdb_using_subcommand run" -s h -l help -d 'Print help'
complete -c umdb -n "__fish_umdb_using_subcommand help; and not __fish_seen_subcommand_from snapshot diff run help" -f -a "snapshot" -d 'Writes the heap of a process, and what belongs to it, to a file that opens like a core'
complete -c umdb -n "__fish_umdb_using_subcommand help; and not __fish_seen_subcommand_from snapshot diff run help" -f -a "diff" -d 'Lists what grew between two snapshots or cores, new leaks first; status 1 when there are new leaks'
complete -c umdb -n "__fish_umdb_using_subcommand help; and not __fish_seen_subcommand_from snapshot diff run help" -f -a "run" -d 'Runs a program under libumem.so and looks at its heap when it ends'
complete -c umdb -n "__fish_umdb_using_subcommand help; and not __fish_seen_subcommand_from snapshot diff run help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
